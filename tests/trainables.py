"""A tiny method to train, and photos to train it on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from helpers import structured_picture
from unblur.contract import Trainable
from unblur.training.recipe import Recipe


class Denoiser(Trainable):
    """Learns to take noise off, with one convolution. Its loss is random, as with dropout."""

    def __init__(self, network: Mapping[str, Any] | None = None, observations: Mapping[str, Any] | None = None) -> None:
        self.modules: dict[str, nn.Module] = {"denoiser": nn.Conv2d(3, 3, 5, padding=2, bias=False)}
        self.stages: Mapping[str, set[str]] = {name: {"all"} for name in ("only", "first", "second")}
        self.area = 24

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        sharp = sample["sharp"]
        return {"blurry": sharp + 0.1 * torch.randn(sharp.shape, generator=generator), "sharp": sharp}

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        share = 0.5 + torch.rand(())
        yield "all", {"square": share * (self.restore(batch) - batch["sharp"]).square().mean()}

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.modules["denoiser"](batch["blurry"])


class Adversaries(Denoiser):
    """Two optimisers in one step, each network used several times, and two losses for one of them."""

    def __init__(self, network: Mapping[str, Any] | None = None, observations: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.modules["critic"] = nn.Conv2d(3, 1, 3)
        self.stages = {name: {"all", "critic"} for name in ("first", "second")}
        self.order: list[str] = []

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        critic = self.modules["critic"]
        self.order.append(f"{stage}:critic")
        yield "critic", {"gap": critic(self.restore(batch).detach()).square().mean() - critic(batch["sharp"]).mean()}
        self.order.append(f"{stage}:all")
        restored = self.restore(batch)
        error = (self.restore({"blurry": restored}) - batch["sharp"]).square().mean()
        yield "all", {"square": error, "critic": 0.01 * critic(restored).square().mean()}


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
