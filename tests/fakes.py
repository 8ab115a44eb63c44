"""Methods so simple that a test knows what they give, and photos to give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.pipeline import picture

PSF = gaussian_psf(1.2, 7)

_METHOD = """
import torch
from unblur.contract import Card, Method, Settings, setting
from unblur.types import Restoration, UnblurError

class FakeSettings(Settings):
    size: int = setting(7, "side", probe=(5, 7))
    shift: float = setting(0.1, "added to every pixel", probe=(0.1, 0.2), ge=-1, le=1)
    fast: bool = setting(False, "no effect", probe=(False, True))

def restore(observation, settings, progress):
    {body}

METHOD = Method(
    Card(name="{name}", title="A fake", paper="", needs=frozenset({needs}), gives=frozenset({gives}),
         undoes=frozenset({undoes}), {card}),
    FakeSettings,
    restore,
)
"""


def fake_method(
    folder: Path, name: str, body: str, needs=("blurry",), gives=("image",), card: str = "", undoes=("blur",)
) -> str:
    """Write a method that lives outside the package; its name for `--method`."""
    path = folder / f"{name}.py"
    path.write_text(
        _METHOD.format(
            name=name,
            body=body,
            needs=set(needs),
            gives=set(gives),
            undoes=set(undoes if "image" in gives else ()),
            card=card,
        )
    )
    return str(path)


def brightening(folder: Path, card: str = "tiling=True") -> str:
    """A 'restoration' that adds the setting `shift` to every pixel."""
    return fake_method(
        folder, "brightening", "return Restoration(image=observation.blurry + settings.shift)", card=card
    )


def estimating(folder: Path) -> str:
    """A PSF estimator that always finds an even square of side `size`."""
    body = "return Restoration(psf=torch.full((1, 1, settings.size, settings.size), 1 / settings.size**2))"
    return fake_method(folder, "estimating", body, gives=("psf",))


def judge_by(monkeypatch, verdict) -> list[tuple]:
    """Replace the judgement of PSFs and restorations by `verdict(blurry, restored, psf, sigma)`; its calls."""
    calls = []

    def judge(observation, result, undoes, sigma, progress):
        psf = observation.psf if result.psf is None else result.psf
        if psf is None:
            return None  # the photo alone looks blurred enough
        restored = None if result.image is None else luminance(result.image)
        calls.append((luminance(observation.blurry), restored, psf, sigma))
        ok, reason = verdict(*calls[-1])
        return None if ok else reason

    monkeypatch.setattr(picture, "judge", judge)
    return calls


def believe(*_) -> tuple[bool, str]:
    """A verdict."""
    return True, ""


def sharp_pixels() -> np.ndarray:
    """Blocks of colour, `(48, 64, 3)` uint8."""
    blocks = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    return _levels(blocks.repeat_interleave(8, 2).repeat_interleave(8, 3))


def photo_pixels() -> np.ndarray:
    """`sharp_pixels` blurred by `PSF`, with a little noise."""
    blurry = convolve(torch.from_numpy(sharp_pixels()).permute(2, 0, 1)[None] / 255, PSF)
    return _levels(blurry + 0.01 * torch.randn(blurry.shape, generator=torch.Generator().manual_seed(1)))


def _levels(picture: torch.Tensor) -> np.ndarray:
    return (picture[0].permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def write_photo_file(path: Path, **options: Any) -> Path:
    """The photo of `photo_pixels`, as Pillow writes it."""
    Image.fromarray(photo_pixels()).save(path, **options)
    return path
