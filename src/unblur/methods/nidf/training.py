"""How `unblur train nidf` trains: a sharp picture, blurred by one PSF (Eq. 6), with white noise added (Eq. 1).

The weights that ship were trained with more kinds of samples, by `scripts/train_on_gpu.py`; docs/models.md names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.psf import pad_psf
from unblur.imaging.trajectory import shake_psf
from unblur.losses import log_error
from unblur.methods.nidf.network import network_of


class Observations(BaseModel):
    """The recipe's table `observations`.

    Attributes:
        side: side of the pictures in pixels.
        half: smallest and largest `l` of the PSFs of side `2 l + 1` pixels.
        sigmas: standard deviations of the noise, on the scale 0..255; equally frequent.
        joint: True: the stage `joint` minimises Eq. 5. False: it continues to train both networks separately, with Eqs. 3
            and 4, as the paper does for comparison.
        loss: "l2": Eqs. 3 to 5 as published; "psnr": the same with the logarithm of each picture's error, so that easy
            and difficult pictures have the same weight.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=16)] = 256
    half: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (3, 24)
    sigmas: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] = (10, 20, 30, 40)
    joint: bool = True
    loss: Literal["l2", "psnr"] = "l2"


class NidfTraining(Trainable):
    """Train both networks separately (stages `denoise` and `deblur`), then together (`joint`)."""

    stages: Mapping[str, set[str]] = {"denoise": {"net1"}, "deblur": {"net2"}, "joint": {"both"}}

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "nidf, observations")
        self.area = self._observations.side + 2 * self._observations.half[1]
        nidf = network_of(network)
        self.modules: dict[str, nn.Module] = {"net1": nidf.net1, "net2": nidf.net2}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create `N` (`blurry`), `B` (`noise_free`) and `I` (`sharp`) from a sharp picture: `(3, side, side)` each."""
        smallest, largest = self._observations.half
        half = int(torch.randint(smallest, largest + 1, (), generator=generator))
        psf = pad_psf(shake_psf(generator, 2 * half + 1), 2 * largest + 1)
        sharp = sample["sharp"]  # (3, area, area)
        noise_free = convolve(sharp[None], psf, "valid")[0]
        sigmas = self._observations.sigmas
        sigma = sigmas[int(torch.randint(len(sigmas), (), generator=generator))] / 255
        inside = (..., slice(largest, -largest), slice(largest, -largest))
        return {
            "blurry": add_gaussian_noise(noise_free, sigma, generator),
            "noise_free": noise_free,
            "sharp": sharp[inside].contiguous(),
        }

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
