"""The learned judge: how much nearer to the sharp picture is a restored picture than the photo, in dB?

A small convolutional network looks at cells of 32 px. In each cell it is also given the statistics that the hand-made
judge compares: how steep and how sparse the slopes are, and how much of the photo is left unexplained. For each cell it
predicts the errors of the photo and of the restored picture; their sums give a first estimate of the gain. A second
part corrects it by what all cells show together, and says how uncertain it is.

106,860 parameters; 70 M multiply-adds for 256 x 256 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.contract import checked
from unblur.solvers.gain.views import FACTS, PICTURES

CELL = 32
"""Side of the cells in pixels."""

_STATISTICS = 13  # numbers of each cell that `_statistics` gives
_RESIDUAL = 10.0  # the unexplained part is that much smaller than the picture; chosen by hand
_LEAST = 1e-6  # of a mean square, relative to the variance of the photo; chosen by hand
_CERTAIN, _UNCERTAIN = -2.0, 2.0  # limits of the logarithm of the uncertainty in dB; chosen by hand


class GainPlan(BaseModel):
    """The recipe's table `network`.

    Attributes:
        widths: channels of the layers, each of which halves the picture; five of them give cells of 32 px.
        hidden: channels of the hidden layers after them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[int, ...], Field(min_length=5, max_length=5)] = (24, 32, 48, 64, 72)
    hidden: Annotated[int, Field(ge=1)] = 64


class Estimate(NamedTuple):
    """What the network says of each of N candidates.

    Attributes:
        gain: in dB, `(N,)`.
        spread: the standard deviation of its error in dB, `(N,)`.
        errors: natural logarithm of the mean squared error of the photo and of the restored picture in each cell,
            relative to the variance of the photo, `(N, 2, n, m)`.
    """

    gain: Tensor
    spread: Tensor
    errors: Tensor


class GainNetwork(nn.Module):
    """Candidates, as `views.Views` describes them, -> their gains in dB."""

    def __init__(self, plan: GainPlan) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((PICTURES, *plan.widths), plan.widths, strict=False):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        inputs = plan.widths[-1] + _STATISTICS + FACTS
        self.cells = nn.Sequential(nn.Conv2d(inputs, plan.hidden, 1), nn.ReLU())
        self.errors = nn.Conv2d(plan.hidden, 2, 1)
        self.together = nn.Sequential(
            nn.Linear(2 * plan.hidden + _STATISTICS + FACTS + 1, plan.hidden), nn.ReLU(), nn.Linear(plan.hidden, 2)
        )

    def forward(self, pictures: Tensor, facts: Tensor) -> Estimate:
        """Estimate the gains.

        Args:
            pictures: `(N, 5, H, W)`, sides that are multiples of 32.
            facts: `(N, 6)`.
        """
        relative = _relative(pictures.float())  # (N, 5, H, W)
        statistics = _statistics(relative)  # (N, 13, n, m)
        known = facts[..., None, None].expand(-1, -1, *statistics.shape[-2:])  # (N, 6, n, m)
        cells = self.cells(
            torch.cat((self.body(_compared(relative)).float(), statistics, known), 1)
        )  # (N, hidden, n, m)
        errors = self.errors(cells).float()  # (N, 2, n, m)
        photo, restored = errors.flatten(2).logsumexp(2).unbind(1)  # (N,) each
        first = 4.343 * (photo - restored)  # 10 / ln 10
        pooled = (cells.mean((2, 3)), cells.amax((2, 3)), statistics.mean((2, 3)), facts, first[:, None] / 4)
        correction, spread = self.together(torch.cat(pooled, 1)).float().unbind(1)
        return Estimate(first + correction, spread.clamp(_CERTAIN, _UNCERTAIN).exp(), errors)


def network_of(network: Mapping[str, Any]) -> GainNetwork:
    """The network of a recipe's table `network`.

    Raises:
        UnblurError: a table that is wrong.
    """
    return GainNetwork(checked(GainPlan, network, "judge, network"))


def variance_of(photo: Tensor) -> Tensor:
    """The variance of photos `(N, 1, H, W)`, to which errors are related: `(N, 1, 1, 1)`."""
    return photo.var((1, 2, 3), keepdim=True).clamp_min(1e-6)


def _relative(pictures: Tensor) -> Tensor:
    """The pictures without the mean of the photo, in units of its standard deviation; the residual is magnified."""
    photo = pictures[:, :1]
    seen, residual = pictures[:, :4] - photo.mean((2, 3), keepdim=True), pictures[:, 4:]
    return torch.cat((seen, _RESIDUAL * residual), 1) / variance_of(photo).sqrt()


def _compared(relative: Tensor) -> Tensor:
    """The photo, the differences of the others from it or from each other, and the residual: `(N, 5, H, W)`."""
    photo, restored, own, turned, residual = relative.split(1, 1)
    return torch.cat((photo, restored - photo, own - photo, turned - own, residual), 1).clamp(-8, 8)


def _statistics(relative: Tensor) -> Tensor:
    """In each cell, logarithms of the slopes' energy, mean size and sparsity of each picture, and of the residual.

    Those of all pictures but the first are relative to the one before. `(N, 5, H, W)` -> `(N, 13, n, m)`.
    """
    seen, residual = relative[:, :4], relative[:, 4:]
    slopes = [F.pad(seen.diff(dim=axis), pad) for axis, pad in ((-1, (0, 1, 0, 0)), (-2, (0, 0, 0, 1)))]
    energy = _log_mean(sum(slope.square() for slope in slopes))  # (N, 4, n, m)
    size = _log_mean(sum(slope.abs() for slope in slopes))
    roots = _log_mean(sum(slope.abs().sqrt() for slope in slopes))
    parts = [torch.cat((part[:, :1], part.diff(dim=1)), 1) for part in (energy, size, roots)]
    return torch.cat((*parts, _log_mean(residual.square())), 1)


def _log_mean(field: Tensor | int) -> Tensor:
    assert isinstance(field, Tensor)
    return (F.avg_pool2d(field, CELL) + _LEAST).log()
