"""A tiny method to train, and photos to train it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from helpers import structured_picture
from unblur.training.recipe import Recipe


class Denoiser:
    """Learns to take noise off: one convolution. `unblur.contract.Trainable`.

    Its losses throw dice, as dropout does.
    """

    def __init__(self, network: Mapping[str, Any] | None = None, observations: Mapping[str, Any] | None = None) -> None:
        self.modules: dict[str, nn.Module] = {"denoiser": nn.Conv2d(3, 3, 5, padding=2, bias=False)}
        self.stages: Mapping[str, set[str]] = {name: {"all"} for name in ("only", "first", "second")}
        self.area = 24
        self.description: Mapping[str, str] = {"network": "{}"}

    def observe(self, sharp: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"blurry": sharp + 0.1 * torch.randn(sharp.shape, generator=generator), "sharp": sharp}

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        share = 0.5 + torch.rand(())
        yield "all", share * (self.restore(batch) - batch["sharp"]).square().mean()

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.modules["denoiser"](batch["blurry"])


class Adversaries(Denoiser):
    """Two optimisers in one step, each with a loss of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.modules["judge"] = nn.Conv2d(3, 1, 3)
        self.stages = {name: {"all", "judge"} for name in ("first", "second")}
        self.order: list[str] = []

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        judge = self.modules["judge"]
        self.order.append(f"{stage}:judge")
        yield "judge", judge(self.restore(batch).detach()).mean() - judge(batch["sharp"]).mean()
        self.order.append(f"{stage}:all")
        yield "all", (self.restore(batch) - batch["sharp"]).square().mean()


def recipe(steps: int = 8, batch: int = 4, **changed: Any) -> Recipe:
    optimizers = {"all": {"trains": ["denoiser"], "rate": 0.01}}
    stages = [{"name": "only", "steps": steps, "warmup": 2, "optimizers": optimizers}]
    plan = {"batch": batch, "precision": "32", "validation": 2, "validate_every": 4, "stages": stages}
    return Recipe(**{**plan, **changed})


def photo_folder(folder: Path, count: int = 4, size: tuple[int, int] = (60, 72)) -> Path:
    """`count` photos to train on and two to validate with."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"photo-{number}a" for number in range(count)] + ["photo-0", "photo-1"]
    for number, name in enumerate(names):
        picture = structured_picture(*size, 3).roll(7 * number, -1)
        levels = (picture[0].permute(1, 2, 0).clamp(0, 1) * 255).byte().numpy()
        Image.fromarray(levels).save(folder / f"{name}.png")
    return folder
