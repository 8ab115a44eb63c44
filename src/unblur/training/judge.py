"""Training of the learned judge (`unblur train judge`): samples and losses.

A sample is a photo with six restored pictures of it. The network learns by how much each is nearer to the sharp picture
than the photo, as a normal distribution in dB, and the errors in cells of 32 px.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.contract import Trainable, checked
from unblur.imaging.colour import luminance
from unblur.imaging.synthesis.shaken import ShakenRecipe, shaken_picture
from unblur.solvers.gain.network import CELL, network_of, variance_of
from unblur.solvers.gain.views import BORDER, views_of
from unblur.training.judge_candidates import gain_of, local_errors, make_candidates

LOWEST, HIGHEST = -4.0, 8.0
"""Gains in dB beyond which the network need not tell one from another."""

_LOCAL = 0.3  # weight of the loss of the errors in the cells; chosen by hand
_LEAST = 1e-4  # of an error, relative to the variance of the photo; chosen by hand


def _of_whole_cells(side: int) -> int:
    if (side - 2 * BORDER) % CELL:
        raise ValueError(f"must be {2 * BORDER} and a multiple of {CELL}, such as 304")
    return side


class Observations(BaseModel):
    """The recipe's table `observations`.

    Attributes:
        side: side of the photos in pixels; without a border of 24 px it is a multiple of 32 px.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Annotated[int, Field(ge=112), AfterValidator(_of_whole_cells)] = 304


class JudgeTraining(Trainable):
    """Training of the network in one stage, `gain`."""

    stages: Mapping[str, set[str]] = {"gain": {"gain"}}

    def __init__(self, network: Mapping[str, Any], observations: Mapping[str, Any]) -> None:
        side = checked(Observations, observations, "judge, observations").side
        self._recipe = ShakenRecipe(side=side)
        self.area = self._recipe.area
        self.modules: dict[str, nn.Module] = {"gain": network_of(network)}

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Create a photo and restore it in six ways; luminances without the border.

        Returns:
            `blurry` and `sharp`, `(1, S, S)`; `views`, `(6, 4, S, S)`, and `facts`, `(6, 6)`, see `Views`; `gain`,
            `(6,)` in dB; `errors`, `(6, 2, n, n)`.
        """
        sharp, photo, _ = shaken_picture(sample["sharp"][None], self._recipe, generator)
        candidates = make_candidates(photo, sharp, generator)
        truth, grey = luminance(sharp), luminance(photo)
        views = [views_of(grey, one.restored, one.psf) for one in candidates]
        return {
            "blurry": _inside(grey)[0],
            "sharp": _inside(truth)[0],
            "views": torch.stack([_inside(one.pictures[1:]) for one in views]),
            "facts": torch.stack([one.facts for one in views]),
            "gain": torch.tensor([gain_of(one.restored, grey, truth, BORDER) for one in candidates]),
            "errors": torch.stack([local_errors(one.restored, grey, truth, BORDER, CELL) for one in candidates]),
        }

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Compute the negative log-likelihood of the gains, and the mean error of the logarithms in the cells."""
        pictures, facts = _flat(batch)
        wanted = batch["errors"].flatten(0, 1) / variance_of(pictures[:, :1])  # (N, 2, n, n)
        pictures, wanted = _mirrored(pictures, wanted)
        estimate = self.modules["gain"](pictures, facts)
        gain = batch["gain"].flatten().clamp(LOWEST, HIGHEST)
        likelihood = ((gain - estimate.gain) / estimate.spread).square() / 2 + estimate.spread.log()
        local = (estimate.errors - (wanted + _LEAST).log()).abs().mean()
        yield "gain", {"likelihood": likelihood.mean(), "local": _LOCAL * local}

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The candidate with the largest predicted gain, or the photo where none has one: `(B, 1, S, S)`."""
        pictures, facts = _flat(batch)
        gain = self.modules["gain"](pictures, facts).gain.view(batch["gain"].shape)  # (B, 6)
        gain = torch.cat((torch.zeros_like(gain[:, :1]), gain), 1)
        choices = torch.cat((batch["blurry"][:, None], batch["views"][:, :, :1]), 1)  # (B, 7, 1, S, S)
        return choices[torch.arange(len(gain)), gain.argmax(1)]


def _flat(batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Pictures `(N, 5, S, S)` and facts `(N, 6)` of all candidates of a batch."""
    views = batch["views"]  # (B, 6, 4, S, S)
    photo = batch["blurry"][:, None].expand(-1, views.shape[1], -1, -1, -1)
    return torch.cat((photo, views), 2).flatten(0, 1), batch["facts"].flatten(0, 1)


def _mirrored(pictures: Tensor, errors: Tensor) -> tuple[Tensor, Tensor]:
    """Both turned by a random multiple of 90 degrees and perhaps mirrored, the same for the whole batch."""
    turns, mirror = int(torch.randint(4, ())), bool(torch.rand(()) < 0.5)
    turned = (one.rot90(turns, (-2, -1)) for one in (pictures, errors))
    first, second = (one.flip(-1) if mirror else one for one in turned)
    return first, second


def _inside(picture: Tensor) -> Tensor:
    return picture[..., BORDER:-BORDER, BORDER:-BORDER].clone()
