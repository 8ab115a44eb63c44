"""How `unblur train nidf` trains: a sharp picture, blurred (Eq. 6), with noise (Eq. 1).

As published, the blur is one PSF and the noise is white. The recipe `compact` has more kinds of both; docs/models.md
names those of the weights that ship.
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
from unblur.methods.nidf.network import network_of

_Share = Annotated[float, Field(ge=0, le=1)]
_Level = Annotated[float, Field(ge=0)]


class Observations(BaseModel):
    """The recipe's table `observations`; by default as published. Pairs and frames have their own blur.

    Attributes:
        side: side of the pictures in pixels.
        sharp: share of the pictures without blur.
        moving: share of the scenes in which the camera and objects move; the others are blurred by one PSF.
        half: smallest and largest `l` of the PSFs of side `2 l + 1` pixels.
        linear: share of the pictures blurred in linear light.
        lights: share of the blurred pictures with saturated lights.
        white: share of the pictures with white noise of one of `sigmas`, and without JPEG. The keys `sigma`, `photons`,
            `demosaicked` and `jpeg` are for the others.
        sigmas: standard deviations of the noise, on the scale 0..255; equally frequent.
        sigma: largest standard deviation of the noise of the others, on the scale 0..255; uniformly distributed from 0.
        photons: share with photon and read-out noise in linear light.
        demosaicked: share with noise that demosaicking has correlated.
        jpeg: share that is stored as JPEG.
        clipped: share of all pictures that are clipped and rounded to 8 bits.
        frames: number of frames whose mean is a blurry picture, for a source of frames.
        joint: True: the stage `joint` minimises Eq. 5. False: it continues to train both networks separately, with
            Eqs. 3 and 4, as the paper does for comparison.
        loss: "l2": Eqs. 3 to 5 as published; "psnr": the same with the logarithm of each picture's error, so that easy
            and difficult pictures have the same weight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=16)] = 256
    sharp: _Share = 0.0
    moving: _Share = 0.0
    half: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 24)
    linear: _Share = 0.0
    lights: _Share = 0.0
    white: _Share = 1.0
    sigmas: Annotated[tuple[_Level, ...], Field(min_length=1)] = (10, 20, 30, 40)
    sigma: _Level = 50.0
    photons: _Share = 0.5
    demosaicked: _Share = 0.5
    jpeg: _Share = 0.4
    clipped: _Share = 0.0
    frames: Annotated[int, Field(ge=1)] = 11
    joint: bool = True
    loss: Literal["l2", "psnr"] = "l2"

    @model_validator(mode="after")
    def _at_most_all(self) -> Observations:
        if self.sharp + self.moving > 1:
            raise ValueError(f"sharp and moving are shares of all pictures, and sum to {self.sharp + self.moving:g}")
        return self

    def blur(self) -> MixedRecipe:
        """The distribution of blur."""
        scene = SceneRecipe(side=self.side, linear=self.linear, lights=self.lights)
        return MixedRecipe(sharp=self.sharp, moving=self.moving, half=self.half, scene=scene)

    def camera(self) -> CameraRecipe:
        """The distribution of noise and compression."""
        return CameraRecipe(
            plain=self.white,
            sigmas=self.sigmas,
            sigma=self.sigma,
            photons=self.photons,
            demosaicked=self.demosaicked,
            clipped=self.clipped,
            jpeg=self.jpeg,
        )


class NidfTraining(Trainable):
    """Train both networks separately (stages `denoise` and `deblur`), then together (`joint`)."""

    stages: Mapping[str, set[str]] = {"denoise": {"net1"}, "deblur": {"net2"}, "joint": {"both"}}
    sources = frozenset({"photos", "pairs", "frames"})

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "nidf, observations")
        self._blur, self._camera = self._observations.blur(), self._observations.camera()
        self.area, self.frames = self._blur.area, self._observations.frames
        nidf = network_of(network)
        self.modules: dict[str, nn.Module] = {"net1": nidf.net1, "net2": nidf.net2}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `N` (`blurry`), `B` (`noise_free`) and `I` (`sharp`) from a photo: `(3, side, side)` each.

        Of a pair, `B` is the blurry picture and `I` the sharp one, as with the GOPRO data set in section 2.3. Of
        frames, `B` is their mean and `I` the middle one.
        """
        if "blurry" in sample:
            sharp, noise_free = (middle(sample[name][None], self._observations.side) for name in ("sharp", "blurry"))
        elif "frames" in sample:
            sharp, noise_free = average(sample["frames"], self._blur, generator)
        else:
            sharp, noise_free = mix(sample["sharp"][None], self._blur, generator)
        noisy = photograph(noise_free, self._camera, generator)
        pictures = {"blurry": noisy, "noise_free": noise_free, "sharp": sharp}
        return {name: picture[0].contiguous() for name, picture in pictures.items()}

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the loss: Eq. 3 for the denoising network, Eq. 4 for the deblurring one, Eq. 5 for both."""
        N, B, I = batch["blurry"], batch["noise_free"], batch["sharp"]  # noqa: E741
        net1, net2 = self.modules["net1"], self.modules["net2"]
        if stage == "denoise":
            yield "net1", {"denoised": self._error(net1(N), B)}  # Eq. 3
        elif stage == "deblur":
            yield "net2", {"sharp": self._error(net2(B), I)}  # Eq. 4
        else:
            B1 = net1(N)
            I1 = net2(B1 if self._observations.joint else B)
            yield "both", {"denoised": self._error(B1, B), "sharp": 0.5 * self._error(I1, I)}  # Eq. 5

    def _error(self, made: Tensor, truth: Tensor) -> Tensor:
        return (made - truth).square().mean() if self._observations.loss == "l2" else log_error(made, truth).mean()

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Restore the batch: `I1`, `(B, 3, H, W)`."""
        return self.modules["net2"](self.modules["net1"](batch["blurry"]))
