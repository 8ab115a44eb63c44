"""How `wiener_stack` is trained: what its networks are shown, and what they are asked to make small."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from unblur.contract import checked
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
    """What the networks are shown: see `BlurRecipe`.

    Attributes:
        side: of the blurry pictures in pixels.
        loss: "psnr": minus the mean PSNR, where an easy picture counts as much as a hard one; "l1": mean absolute
            error; "l2": Eq. 1; "ssim": Eq. 2.
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
            raise ValueError("the fewest and the most photons are above 0, in this order")
        return photons

    @field_validator("psf_size")
    @classmethod
    def _odd(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not 3 <= size[0] <= size[1] or size[0] % 2 == 0 or size[1] % 2 == 0:
            raise ValueError("the smallest and the largest side are odd, at least 3, in this order")
        return size

    def recipe(self) -> BlurRecipe:
        """The part that is about the camera."""
        return BlurRecipe(**self.model_dump(exclude={"side", "loss"}))


_INVISIBLE = 1e-4  # a mean squared error (40 dB) below which little need be gained
_NOISIEST, _NOISE_RANGE = 0.1, 50  # of the stage `denoise`: drawn evenly in the logarithm
_MEASURED = 0.3  # standard deviation of the logarithm of a measured noise level
_GIVEN = 0.2  # as wrong as a PSF may be that counts as given


class WienerStackTraining:
    """`unblur.contract.Trainable` for both presets.

    The published network deblurs, in one stage. So does the compact one, through all its passes; a stage `denoise`
    before that teaches it, much quicker, what all passes have in common.
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
        self.description: Mapping[str, str] = {"network": json.dumps(dict(network))}

    def observe(self, sharp: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """A blurry picture, its PSF and the sharp picture; for the compact network one channel, and what it is told."""
        if not self._compact:
            made = blur(sharp, self._recipe, generator)
            return {"blurry": made.blurry, "psf": made.psf[None], "sharp": made.sharp}
        channel = int(torch.randint(4, (), generator=generator))  # one of a colour photo's, or grey
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

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """One loss for the one optimiser."""
        restored = self._denoised(batch) if stage == "denoise" else self.restore(batch)
        sharp = batch["sharp"]
        if self._observations.loss == "ssim":
            yield "stack", ssim_loss(restored, sharp).mean()
        elif self._observations.loss == "l2":
            yield "stack", (restored - sharp).square().mean()
        elif self._observations.loss == "psnr":
            errors = (restored - sharp).square().mean((1, 2, 3))  # (B,)
            yield "stack", 10 * (errors + _INVISIBLE).log10().mean()
        else:
            yield "stack", (restored - sharp).abs().mean()

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Through the network: `(B, C, H, W)`."""
        network = self.modules["stack"]
        if self._compact:
            trusted = unclipped(batch["blurry"], True)
            how = Deconvolution(batch["sigma"], batch["doubt"])
            return deconvolve(network, batch["blurry"], batch["psf"], how, trusted=trusted)
        return network(batch["blurry"], batch["psf"])

    def _denoised(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The sharp pictures with white noise, without it again."""
        level = batch["level"]
        return self.modules["stack"](batch["noisy"].expand(-1, MEMBERS, -1, -1), level, torch.zeros_like(level))
