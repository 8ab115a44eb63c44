"""The learned judge of restored pictures. `unblur train judge` trains it (`training/judge.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unblur.solvers import non_blind
from unblur.solvers.areas import informative_place
from unblur.solvers.gain.network import CELL, network_of
from unblur.solvers.gain.views import BORDER, views_of
from unblur.trained import Trained
from unblur.types import Observation, Progress

JUDGE = Trained(method="judge", folder=Path(__file__).parent, build=network_of, module="gain")

LARGEST_PSF = 61
"""Longer side in pixels of the largest right PSFs that the shipped weights were trained with (docs/models.md)."""

_SIDE = 304  # pixels: side of the area that is looked at, as in training


def can_predict(grey: Tensor, psf: Tensor | None) -> bool:
    """Whether a photo `(1, 1, H, W)` is large enough for `predict` with a PSF `(h, w)`, or without."""
    side = min(*grey.shape[-2:], _SIDE)
    return side >= 2 * BORDER + CELL and (psf is None or max(psf.shape) <= side // 2)


class Prediction(NamedTuple):
    """How many dB a restored picture is expected to be nearer to the sharp picture than the photo, and the standard
    deviation of this in dB."""

    gain: float
    spread: float

    def least(self, caution: float) -> float:
        """The gain minus `caution` standard deviations."""
        return self.gain - caution * self.spread


def predict(grey: Tensor, restored: Tensor, psf: Tensor | None, *, weights: Path | None = None) -> Prediction:
    """Predict how much a restored picture is better than the photo.

    Args:
        grey: luminance of the photo, `(1, 1, H, W)`, [0, 1], see `can_predict`. Of a larger photo the most
            detailed area of 304 px is looked at.
        restored: luminance of the restored picture, same shape.
        psf: the PSF that it was restored with, `(h, w)`, odd sides; None: none.
        weights: a file from `unblur train judge`; None: the weights that ship.

    Raises:
        UnblurError: no such file, or none of the judge.
    """
    rows, columns = informative_place(grey, _SIDE)
    area, candidate = (one[..., rows, columns] for one in (grey, restored))
    views = views_of(area, candidate, psf)
    inner = views.pictures[:, BORDER:-BORDER, BORDER:-BORDER]
    height, width = (side // CELL * CELL for side in inner.shape[-2:])
    network = JUDGE.load(weights, grey.device)
    gain, spread = mean_estimate(network, inner[None, :, :height, :width], views.facts[None].to(grey.device))
    return Prediction(float(gain), float(spread))


def mean_estimate(network: nn.Module, pictures: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
    """The means of the gains and spreads that the network estimates for the pictures in all eight orientations.

    Args:
        network: the judge's.
        pictures: `(N, 5, H, W)`, sides that are multiples of `CELL`.
        facts: `(N, 6)`; they do not depend on the orientation.

    Returns:
        Gains and spreads in dB, `(N,)` each.
    """
    turned = [one.rot90(turns, (-2, -1)) for one in (pictures, pictures.flip(-1)) for turns in range(4)]
    estimates = [network(one.contiguous(), facts) for one in turned]
    return (
        torch.stack([one.gain for one in estimates]).mean(0),
        torch.stack([one.spread for one in estimates]).mean(0),
    )


def predict_for_psf(grey: Tensor, psf: Tensor) -> Prediction:
    """Predict how much clearer a photo becomes when it is deconvolved with a PSF; a quick deconvolution is looked at.

    Args:
        grey: luminance of the photo, `(1, 1, H, W)`, [0, 1], see `can_predict`.
        psf: `(h, w)`, odd sides.
    """
    rows, columns = informative_place(grey, _SIDE)
    area = grey[..., rows, columns]
    known = Observation(blurry=area, psf=psf[None, None], psf_estimated=True)
    return predict(area, non_blind.hyper_laplacian(known, Progress()), psf)
