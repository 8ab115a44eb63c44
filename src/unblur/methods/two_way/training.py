"""How `unblur train two_way` trains: scenes in which the camera and objects move, rendered from a photo.

The weights that ship were trained with more kinds of samples, by `scripts/train_on_gpu.py`; docs/models.md names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.synthesis.moving import SceneRecipe, render, shaken_paths
from unblur.losses import log_error
from unblur.methods.two_way.network import at_scale, network_of

_ALPHA_LAST = 5.0  # weight of the finest scale in Eq. 2; that of the others is 1
_MARGIN = 128  # pixels by which the area of the photo exceeds the picture, for motion; chosen by hand


class Observations(BaseModel):
    """The recipe's table `observations`. For pairs, only `loss` and `side` are used.

    Attributes:
        side: side of the pictures in pixels.
        instants: number of times at which a scene is rendered.
        shake: length in pixels of the camera's longest trajectory.
        speed: length in pixels of an object's longest trajectory.
        still: share of the scenes without motion.
        sigma: largest standard deviation of the noise, on the [0, 1] scale.
        loss: "l2": Eq. 2 as published; "psnr": the same with the logarithm of each picture's error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=64)] = 256
    instants: Annotated[int, Field(ge=2)] = 24
    shake: Annotated[float, Field(ge=0)] = 24.0
    speed: Annotated[float, Field(ge=0)] = 24.0
    still: Annotated[float, Field(ge=0, le=1)] = 0.15
    sigma: Annotated[float, Field(ge=0)] = 0.01
    loss: Literal["l2", "psnr"] = "psnr"


class TwoWayTraining(Trainable):
    """Train in one stage, with moving scenes rendered from photos, or with pairs of blurry and sharp pictures."""

    stages: Mapping[str, set[str]] = {"restore": {"network"}}
    sources = frozenset({"photos", "pairs"})

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "two_way, observations")
        self.area = self._observations.side + _MARGIN
        self.modules: dict[str, nn.Module] = {"network": network_of(network)}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `blurry` and `sharp` from a photo, or crop them from a pair: `(3, side, side)` each."""
        plan = self._observations
        edge = _MARGIN // 2
        middle = (..., slice(edge, edge + plan.side), slice(edge, edge + plan.side))
        if "blurry" in sample:
            return {name: sample[name][middle].contiguous() for name in ("blurry", "sharp")}
        photo = sample["sharp"][None]  # (1, 3, area, area)
        if float(torch.rand((), generator=generator)) < plan.still:
            sharp = blurry = photo[middle]
        else:
            recipe = SceneRecipe(side=plan.side, instants=plan.instants, shake=plan.shake, speed=plan.speed)
            textures = [photo.rot90(turns, (-2, -1))[:, [1, 2, 0]] for turns in (1, 2)]
            paths = shaken_paths(4, plan.instants, generator)
            sharp, blurry = render(photo, textures, paths, recipe, generator)
        sigma = plan.sigma * float(torch.rand((), generator=generator))
        taken = quantise(add_gaussian_noise(blurry, sigma, generator), clip=True)
        return {"blurry": taken[0].contiguous(), "sharp": sharp[0].contiguous()}

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the loss of each scale (Eq. 2)."""
        made = self.modules["network"](batch["blurry"])
        weights = [1.0] * (len(made) - 1) + [_ALPHA_LAST]
        errors = {
            f"scale_{number}": weight
            / sum(weights)
            * self._error(scale.I, at_scale(batch["sharp"], len(made) - number))
            for number, (weight, scale) in enumerate(zip(weights, made, strict=True), 1)
        }
        yield "network", errors

    def _error(self, made: Tensor, truth: Tensor) -> Tensor:
        return (made - truth).square().mean() if self._observations.loss == "l2" else log_error(made, truth).mean()

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Restore the batch: `I` at the finest scale, `(B, 3, H, W)`."""
        return self.modules["network"](batch["blurry"])[-1].I
