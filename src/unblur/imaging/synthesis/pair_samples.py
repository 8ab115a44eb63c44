"""Samples of pairs for training, from photos, from frames, or from blurry and sharp pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.synthesis.mixed import middle
from unblur.imaging.synthesis.moving import GAMMA, SceneRecipe
from unblur.imaging.synthesis.pairs import PairRecipe, pair, photographed

_Share = Annotated[float, Field(ge=0, le=1)]
_Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class PairObservations(BaseModel):
    """The table `observations` of the recipes of methods for pairs. For frames and pairs, nothing moves or is shifted.

    Attributes:
        side: side of the pictures in pixels.
        instants: number of times at which a scene is rendered.
        shake: length in pixels of the camera's longest trajectory.
        speed: length in pixels of an object's longest trajectory.
        still: share of the pairs in which nothing moves.
        aligned: share of the pairs of which both shots have the same mean position.
        gap: largest number of instants between the shots.
        exposure: smallest and largest exposure of the short shot, as a share of that of the long one, in linear light.
        overexposed: share of the scenes that are 1 to 2 times as bright as the photo.
        tint: standard deviation of the logarithm of the exposure of a channel.
        tone: standard deviation of the logarithm of an exponent of the sRGB values of the short shot.
        sigma: smallest and largest standard deviation of the noise of the brightened short shot, on the [0, 1] scale.
        resampled: share whose short shot has the noise of a picture that was moved onto the long shot.
        jpeg: share of which both shots are stored as JPEG.
        published: share with the exposure and the noise of the paper.
        linear: share of the frames' means that are computed in linear light.
        frames: number of consecutive frames in a sample, for a source of frames: the first is sharp, the second is left
            out, the mean of the others is blurry.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=64)] = 256
    instants: Annotated[int, Field(ge=8)] = 20
    shake: Annotated[float, Field(ge=0)] = 32.0
    speed: Annotated[float, Field(ge=0)] = 24.0
    still: _Share = 0.1
    aligned: _Share = 0.3
    gap: Annotated[int, Field(ge=1, le=4)] = 3
    exposure: _Range = (0.02, 0.7)
    overexposed: _Share = 0.3
    tint: Annotated[float, Field(ge=0)] = 0.08
    tone: Annotated[float, Field(ge=0)] = 0.08
    sigma: _Range = (0.01, 0.3)
    resampled: _Share = 0.5
    jpeg: _Share = 0.3
    published: _Share = 0.2
    linear: _Share = 0.5
    frames: Annotated[int, Field(ge=3)] = 13

    @model_validator(mode="after")
    def _in_order(self) -> PairObservations:
        for name in ("exposure", "sigma"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} is a smallest and a largest value, and {least:g} is above {most:g}")
        return self

    def recipe(self) -> PairRecipe:
        """The distribution of motion, exposure and noise."""
        scene = SceneRecipe(
            side=self.side, instants=self.instants, shake=self.shake, speed=self.speed, objects=0.6, linear=1.0
        )
        return PairRecipe(
            still=self.still,
            aligned=self.aligned,
            gap=self.gap,
            exposure=self.exposure,
            overexposed=self.overexposed,
            tint=self.tint,
            tone=self.tone,
            sigma=self.sigma,
            resampled=self.resampled,
            jpeg=self.jpeg,
            published=self.published,
            scene=scene,
        )


def observe_pair(
    sample: Mapping[str, Tensor], observations: PairObservations, generator: torch.Generator
) -> dict[str, Tensor]:
    """Make a pair of shots from a sample of a source, see `Trainable.observe`.

    Returns:
        `blurry`, `sharp` and `noisy`, `(3, side, side)` each, in [0, 1]; `noisy` is dark, as the camera stores it.
        `ratio`: the estimated ratio of the exposures for each channel, `(3, 1, 1)`.
    """
    recipe, side = observations.recipe(), observations.side
    if "blurry" in sample:
        sharp, blurry = (middle(sample[name][None], side) for name in ("sharp", "blurry"))
        made = photographed(sharp, blurry, recipe, generator)
    elif "frames" in sample:
        gamma = GAMMA if float(torch.rand((), generator=generator)) < observations.linear else 1.0
        made = photographed(*first_and_mean(middle(sample["frames"], side), gamma), recipe, generator)
    else:
        made = pair(sample["sharp"][None], recipe, generator)
    pictures = {"blurry": made.blurry, "noisy": made.noisy, "sharp": made.sharp}
    pictures["ratio"] = exposure_ratio(made.blurry, made.noisy)
    return {name: picture[0].contiguous() for name, picture in pictures.items()}


def first_and_mean(frames: Tensor, gamma: float = 1.0) -> tuple[Tensor, Tensor]:
    """The first frame, and the mean of the third to the last, as in GOPRO2.

    Args:
        frames: at least 3 consecutive frames, `(T, 3, H, W)`, sRGB, [0, 1].
        gamma: exponent of the values that are averaged; 1: sRGB values, as in the paper.

    Returns:
        The sharp and the blurry picture, `(1, 3, H, W)` each.
    """
    return frames[:1], (frames[2:] ** gamma).mean(0, keepdim=True) ** (1 / gamma)


def shots(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The blurry shot, and the noisy one equally bright, of a batch of `observe_pair`: `(B, 3, H, W)` each."""
    return batch["blurry"], brightened(batch["noisy"], batch["ratio"])
