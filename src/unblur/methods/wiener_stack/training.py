"""Training of the networks of `wiener_stack`: samples and losses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.colour import luminance
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.synthesis import BlurRecipe, blur
from unblur.losses import ssim_loss
from unblur.methods.wiener_stack.build import network_of
from unblur.methods.wiener_stack.network import (
    ERROR_ESTIMATED,
    ERROR_MEASURED,
    MEMBERS,
    CompactStack,
    Deconvolution,
    deconvolve,
)
from unblur.solvers.data_term import SIGMA_FLOOR, unclipped


class Observations(BaseModel):
    """The recipe's table `observations`. The other keys are described at `BlurRecipe`.

    Attributes:
        side: side of the blurry pictures in pixels.
        loss: "psnr": minus the mean PSNR, so that easy and difficult pictures have the same weight; "l1": mean
            absolute error; "l2": Eq. 1; "ssim": Eq. 2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=16)] = 128
    loss: Literal["psnr", "l1", "l2", "ssim"] = "psnr"
    psfs: Literal["mixed", "exposures"] = "mixed"
    psf_size: tuple[int, int] = (3, 41)
    sigma: Annotated[float, Field(ge=0)] = 0.05
    photons: tuple[float, float] | None = None
    softness: Annotated[float, Field(ge=0)] = 0.0
    perturbed: Annotated[float, Field(ge=0, le=1)] = 0.0
    wrong: Annotated[float, Field(ge=0, le=1)] = 1.0

    @field_validator("photons")
    @classmethod
    def _some(cls, photons: tuple[float, float] | None) -> tuple[float, float] | None:
        if photons is not None and not 0 < photons[0] <= photons[1]:
            raise ValueError("need two numbers of photons above 0, the smaller one first")
        return photons

    @field_validator("psf_size")
    @classmethod
    def _odd(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not 3 <= size[0] <= size[1] or size[0] % 2 == 0 or size[1] % 2 == 0:
            raise ValueError("need two odd sides of at least 3, the smaller one first")
        return size

    def recipe(self) -> BlurRecipe:
        """Get the parameters of the blur."""
        return BlurRecipe(**self.model_dump(exclude={"side", "loss"}))


_INVISIBLE = 1e-4  # mean squared error (40 dB): below it the loss "psnr" hardly changes; chosen by hand
_NOISIEST, _NOISE_RANGE = 0.1, 50  # stage `denoise`: largest sigma, and its ratio to the smallest; chosen by hand
_MEASURED = 0.3  # standard deviation of the logarithm of the ratio of estimated and true sigma; chosen by hand
_GIVEN = 0.2  # largest `wrong` of a PSF that is given as measured; chosen by hand


class WienerStackTraining(Trainable):
    """Training of the published and the compact network.

    The published network is trained in one stage, `restore`. The compact network is trained to remove white noise in
    the stage `denoise`, which is faster, and then in all passes together in the stage `deblur`.
    """

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "wiener_stack, observations")
        self._recipe = self._observations.recipe()
        self.area = self._observations.side + self._recipe.support - 1
        stack = network_of(network)
        self._compact = isinstance(stack, CompactStack)
        self.modules: dict[str, nn.Module] = {"stack": stack}
        self.stages: Mapping[str, set[str]] = {
            name: {"stack"} for name in (("denoise", "deblur") if self._compact else ("restore",))
        }

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create a blurry picture, its PSF and the sharp picture.

        For the compact network they have one channel, and its further inputs are added.
        """
        sharp = sample["sharp"]
        if not self._compact:
            made = blur(sharp, self._recipe, generator)
            return {"blurry": made.blurry, "psf": made.psf[None], "sharp": made.sharp}
        channel = int(torch.randint(4, (), generator=generator))  # red, green, blue or luminance
        plane = sharp[channel : channel + 1] if channel < 3 else luminance(sharp[None])[0]
        made = blur(plane, self._recipe, generator)
        measured = made.sigma * float((_MEASURED * torch.randn((), generator=generator)).exp())
        level = _NOISIEST * _NOISE_RANGE ** -float(torch.rand((), generator=generator))
        doubt = ERROR_MEASURED if made.wrong <= _GIVEN else ERROR_ESTIMATED
        return {
            "blurry": made.blurry,
            "psf": made.psf[None],
            "sharp": made.sharp,
            "sigma": torch.full((1, 1, 1), max(measured, SIGMA_FLOOR)),
            "doubt": torch.full((1, 1, 1), doubt),
            "noisy": add_gaussian_noise(made.sharp, level, generator),
            "level": torch.full((1, 1, 1), level),
        }

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the loss that the recipe chooses."""
        restored = self._denoised(batch) if stage == "denoise" else self.restore(batch)
        sharp, name = batch["sharp"], self._observations.loss
        if name == "ssim":
            loss = ssim_loss(restored, sharp).mean()
        elif name == "l2":
            loss = (restored - sharp).square().mean()
        elif name == "psnr":
            errors = (restored - sharp).square().mean((1, 2, 3))  # (B,)
            loss = 10 * (errors + _INVISIBLE).log10().mean()
        else:
            loss = (restored - sharp).abs().mean()
        yield "stack", {name: loss}

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Restore the batch: `(B, C, H, W)`."""
        network = self.modules["stack"]
        if self._compact:
            trusted = unclipped(batch["blurry"], True)
            how = Deconvolution(batch["sigma"], batch["doubt"])
            return deconvolve(network, batch["blurry"], batch["psf"], how, trusted=trusted)
        return network(batch["blurry"], batch["psf"])

    def _denoised(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Denoise the sharp pictures to which white noise was added: `(B, 1, H, W)`."""
        level = batch["level"]
        return self.modules["stack"](batch["noisy"].expand(-1, MEMBERS, -1, -1), level, torch.zeros_like(level))
