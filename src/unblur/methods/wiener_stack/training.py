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
from unblur.methods.wiener_stack.network import CompactStack


class Observations(BaseModel):
    """What the networks are shown: see `BlurRecipe`, of which the compact network heeds `sigma` alone.

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

    @field_validator("psf_size")
    @classmethod
    def _odd(cls, size: tuple[int, int]) -> tuple[int, int]:
        if not 3 <= size[0] <= size[1] or size[0] % 2 == 0 or size[1] % 2 == 0:
            raise ValueError("the smallest and the largest side are odd, at least 3, in this order")
        return size

    def recipe(self) -> BlurRecipe:
        """The part that is about the camera."""
        return BlurRecipe(**self.model_dump(exclude={"side", "loss"}))


_INVISIBLE = 1e-6  # a mean squared error (60 dB) below which nothing need be gained


class WienerStackTraining:
    """`unblur.contract.Trainable` for both presets: the published network deblurs, the compact one denoises."""

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        self._observations = checked(Observations, observations, "wiener_stack, observations")
        self._recipe = self._observations.recipe()
        stack = network_of(network)
        self._denoises = isinstance(stack, CompactStack)
        self.area = self._observations.side + (0 if self._denoises else self._recipe.support - 1)
        self.modules: dict[str, nn.Module] = {"stack": stack}
        self.description: Mapping[str, str] = {"network": json.dumps(dict(network))}

    def observe(self, sharp: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """A blurry picture, its PSF and the sharp picture; or one channel with noise, how much, and without."""
        if not self._denoises:
            made = blur(sharp, self._recipe, generator)
            return {"blurry": made.blurry, "psf": made.psf[None], "sharp": made.sharp}
        channel = int(torch.randint(4, (), generator=generator))  # one of a colour photo's, or grey
        sharp = sharp[channel : channel + 1] if channel < 3 else luminance(sharp[None])[0]
        sigma = self._recipe.draw_sigma(generator)
        return {
            "blurry": add_gaussian_noise(sharp, sigma, generator),
            "sigma": torch.full((1, 1, 1), sigma),
            "sharp": sharp,
        }

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """One loss for the one optimiser."""
        restored, sharp = self.restore(batch), batch["sharp"]
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
        return self.modules["stack"](batch["blurry"], batch["sigma" if self._denoises else "psf"])
