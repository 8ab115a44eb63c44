"""What several tests are made of: a picture, an asymmetric psf, a blurry photo, progress that counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.types import Observation, Progress


@dataclass(frozen=True)
class Scene:
    """A picture, and what a shaken and noisy camera saw of it.

    `again` are further photos like `blurry`, each with noise of its own, `(B, T, C, H, W)`; None: copies of it.
    """

    sharp: Tensor
    psf: Tensor
    blurry: Tensor
    again: Tensor | None = None

    @property
    def frames(self) -> Tensor:
        """`blurry` and three further photos, `(B, 4, C, H, W)`."""
        again = self.blurry[:, None].expand(-1, 3, -1, -1, -1) if self.again is None else self.again
        return torch.cat((self.blurry[:, None], again), 1)


def structured_picture(height: int, width: int, channels: int = 1, seed: int = 0) -> Tensor:
    """Discs and rectangles of all sizes on a slope, in [0.1, 0.9]: `(1, channels, height, width)`."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(height, dtype=torch.float32)[:, None]
    x = torch.arange(width, dtype=torch.float32)
    picture = (0.3 + 0.2 * y / height + 0.2 * x / width).expand(1, channels, height, width)
    for shape in range(2 + height * width // 120):
        middle_y, middle_x, size, *colour = torch.rand(3 + channels, generator=generator).tolist()
        dy, dx = y - middle_y * height, x - middle_x * width
        radius = 2 + 14 * size**2
        distance = (dy**2 + dx**2).sqrt() if shape % 2 else torch.maximum(dy.abs(), (dx / 2).abs())
        inside = (radius - distance + 0.5).clamp(0, 1)  # an edge one pixel wide
        paint = 0.1 + 0.8 * torch.tensor(colour)[:, None, None]
        picture = picture * (1 - inside) + paint * inside
    return picture.contiguous()


def save_photo(path: Path, height: int, width: int, channels: int = 3, seed: int = 0) -> None:
    """Write a smooth photo of many colours, as the format that the suffix names; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = torch.rand(1, channels, 24, 24, generator=torch.Generator().manual_seed(seed))
    smooth = interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)[0].movedim(0, -1)  # (H, W, C)
    Image.fromarray((smooth * 255).byte().numpy().squeeze()).save(path)


def hook_psf() -> Tensor:
    """A shake like the digit 7 whose light fades, `(9, 11)`: unlike its flip, its centroid off the middle."""
    psf = torch.zeros(9, 11)
    psf[1, 2:9] = torch.linspace(1.0, 0.5, 7)
    for step in range(6):
        psf[2 + step, 8 - step // 2] = 0.5 - 0.06 * step
    return psf / psf.sum()


def observe(sharp: Tensor, psf: Tensor, sigma: float = 0.0, seed: int = 0) -> Scene:
    """Blur the inside of `sharp`, whose border is the world beyond the photo's, and add noise."""
    reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
    noise = torch.Generator().manual_seed(seed)
    light = convolve(sharp, psf, "valid")
    blurry = light + sigma * torch.randn(light.shape, generator=noise)
    again = light[:, None] + sigma * torch.randn(len(light), 3, *light.shape[1:], generator=noise)
    inside = sharp[..., reach_y : sharp.shape[-2] - reach_y, reach_x : sharp.shape[-1] - reach_x]
    return Scene(inside, psf[None, None] if psf.ndim == 2 else psf, blurry.clamp(0, 1), again.clamp(0, 1))


def blurred_scene(
    height: int,
    width: int,
    channels: int = 1,
    *,
    sigma: float = 0.01,
    seed: int = 0,
    psf: Tensor | None = None,
) -> Scene:
    """A structured picture of this size, blurred by `psf` (the hook unless told) with noise `sigma`."""
    psf = hook_psf() if psf is None else psf
    rows, columns = psf.shape[-2] - 1, psf.shape[-1] - 1
    return observe(structured_picture(height + rows, width + columns, channels, seed), psf, sigma, seed)


def ready() -> list[str]:
    """The names of the methods that restore as installed: those without a network, or with weights in the package."""
    every = {name: methods.get(name).trained for name in methods.names()}
    return [name for name, trained in every.items() if trained is None or trained.preset in trained.presets()]


def copied(observation: Observation) -> Observation:
    """The same observation in other memory."""
    values: dict[str, Any] = {name: getattr(observation, name) for name in Observation.__slots__}
    for name, value in values.items():
        if isinstance(value, Tensor):
            values[name] = value.clone()
    return Observation(**values)


@dataclass
class CountingProgress(Progress):
    """Counts reports, and cancels itself at the one called for."""

    cancel_at: int | None = None
    reports: int = 0
    promised: list[int | None] = field(default_factory=list)  # the total each stage announced
    done: list[int] = field(default_factory=list)  # the steps each stage took

    def __post_init__(self) -> None:
        super().__init__()

    def on_stage(self, name: str, total: int | None) -> None:
        self.promised.append(total)
        self.done.append(0)
        self._report()

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self.done[-1] += steps
        if steps:  # how often work that waits asks whether it is cancelled depends on the time
            self._report()

    def _report(self) -> None:
        self.reports += 1
        if self.reports == self.cancel_at:
            self.cancel()


def errors_while_learning(
    training: Any, stage: str, batch: dict[str, Tensor], *, rate: float, steps: int
) -> list[float]:
    """The sum of the losses of one optimiser's stage at each step of learning one batch by heart."""
    weights = [weight for module in training.modules.values() for weight in module.parameters()]
    optimizer = torch.optim.Adam(weights, rate)
    errors = []
    for _ in range(steps):
        ((_, losses),) = training.losses(stage, batch)
        loss = torch.stack(list(losses.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(float(loss.detach()))
    return errors
