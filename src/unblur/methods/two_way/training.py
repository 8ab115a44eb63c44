"""How `unblur train two_way` trains: mostly scenes in which the camera and objects move, rendered from a photo.

The weights that ship were trained with more kinds of samples, by `scripts/train_on_gpu.py`; docs/models.md names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.synthesis.camera import CameraRecipe, photograph
from unblur.imaging.synthesis.mixed import MixedRecipe, average, middle, mix
from unblur.imaging.synthesis.moving import SceneRecipe
from unblur.losses import log_error
from unblur.methods.two_way.network import at_scale, network_of

_ALPHA_LAST = 5.0  # weight of the finest scale in Eq. 2; that of the others is 1
_Share = Annotated[float, Field(ge=0, le=1)]


class Observations(BaseModel):
    """The recipe's table `observations`. For pairs, only `loss` and `side` are used.

    Attributes:
        side: side of the pictures in pixels.
        instants: number of times at which a scene is rendered.
        shake: length in pixels of the camera's longest trajectory.
        speed: length in pixels of an object's longest trajectory.
        still: share of the pictures without blur.
        uniform: share of the pictures blurred by one PSF of camera shake; the others are moving scenes.
        half: smallest and largest `l` of these PSFs, of side `2 l + 1` pixels.
        sigma: largest standard deviation of the noise, on the [0, 1] scale; weak noise is more frequent.
        jpeg: share of the pictures stored as JPEG.
        frames: number of frames whose mean is a blurry picture, for a source of frames.
        loss: "l2": Eq. 2 as published; "psnr": the same with the logarithm of each picture's error.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=64)] = 256
    instants: Annotated[int, Field(ge=2)] = 24
    shake: Annotated[float, Field(ge=0)] = 24.0
    speed: Annotated[float, Field(ge=0)] = 24.0
    still: _Share = 0.15
    uniform: _Share = 0.25
    half: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 24)
    sigma: Annotated[float, Field(ge=0)] = 0.03
    jpeg: _Share = 0.5
    frames: Annotated[int, Field(ge=1)] = 11
    loss: Literal["l2", "psnr"] = "psnr"

    @model_validator(mode="after")
    def _at_most_all(self) -> Observations:
        if self.still + self.uniform > 1:
            raise ValueError(f"still and uniform are shares of all pictures, and sum to {self.still + self.uniform:g}")
        return self

    def blur(self) -> MixedRecipe:
        """The distribution of blur."""
        scene = SceneRecipe(side=self.side, instants=self.instants, shake=self.shake, speed=self.speed)
        return MixedRecipe(sharp=self.still, moving=1 - self.still - self.uniform, half=self.half, scene=scene)

    def camera(self) -> CameraRecipe:
        """The distribution of noise and compression."""
        return CameraRecipe(sigma=255 * self.sigma, skew=3.0, jpeg=self.jpeg)


class TwoWayTraining(Trainable):
    """Train in one stage, with blurry pictures made of photos or frames, or with pairs of blurry and sharp pictures."""

    stages: Mapping[str, set[str]] = {"restore": {"network"}}
    sources = frozenset({"photos", "pairs", "frames"})

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "two_way, observations")
        self._blur, self._camera = self._observations.blur(), self._observations.camera()
        self.area, self.frames = self._blur.area, self._observations.frames
        self.modules: dict[str, nn.Module] = {"network": network_of(network)}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `blurry` and `sharp` from a photo or from frames, or crop them from a pair: `(3, side, side)` each."""
        if "blurry" in sample:
            names = ("blurry", "sharp")
            return {name: middle(sample[name][None], self._observations.side)[0].contiguous() for name in names}
        if "frames" in sample:
            sharp, blurry = average(sample["frames"], self._blur, generator)
        else:
            sharp, blurry = mix(sample["sharp"][None], self._blur, generator)
        return {"blurry": photograph(blurry, self._camera, generator)[0], "sharp": sharp[0].contiguous()}

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
