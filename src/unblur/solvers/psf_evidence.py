"""Measure whether one PSF explains the blur everywhere in a photo.

Deconvolution adds noise and artefacts (Levin et al. 2009). With the true PSF the edges also become clearer, and the
picture looks more like a photo than with a wrong PSF. So a PSF is compared with two wrong copies of itself: one shrunk
to 0.7 of its size, and one turned by 180 degrees (its spectrum has the same absolute values and other phases). If
objects of the scene moved, the estimated PSF is no better than its copies, except perhaps on the object that it was
estimated from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import resize_psf
from unblur.solvers.blind import informative_area
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

_SHRUNK = 0.7  # size of the smaller copy; of 0.5 and 0.7 the one that separates better (benchmarks/tune_judge.py)
_TILE = 64  # px, side of the tiles in which the PSF and its copies are compared; they overlap by half
_WHOLE_UP_TO = 1_000_000  # px; of a larger photo nine areas are looked at
_AREA = 480  # px, side of each
_PRIOR_WEIGHT, _EXPONENT = 1.5e-4, 0.8  # of the deconvolution, as in `solvers.blind.implausibility`


@dataclass(frozen=True)
class Evidence:
    """How much better a PSF explains a photo than wrong copies of it do.

    Attributes:
        share_no_better: share of the photo's detailed tiles in which the copies are as good on the average: about 0 for
            a shaken photo and its true PSF, up to 1 for a wrong PSF; 0 also if the photo holds no tile.
        margin: mean difference of the logarithm of `solvers.blind.implausibility` in these tiles, for the copy that is
            less different: about .2 or more for a true PSF, about 0 or less for a wrong one; 0 if there is no tile.
    """

    share_no_better: float
    margin: float


def evidence_for(grey: Tensor, psf: Tensor) -> Evidence:
    """Compare a PSF with a shrunk and a turned copy of it, in tiles of 64 px of a photo.

    The half of the tiles with the stronger edges counts.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        psf: `(h, w)`, odd sides, smaller than the photo.
    """
    copies = (psf, resize_psf(psf.cpu(), _SHRUNK).to(psf), psf.flip(0, 1))
    margin = max(psf.shape) // 2 + 1
    areas = _areas(grey, margin)
    if not areas:
        return Evidence(0.0, 0.0)
    tasks = [(area, copy) for area in areas for copy in copies]
    figures = side_by_side(lambda task: _log_implausibility(*task, margin), tasks, grey.device)
    own, shrunk, turned = (torch.cat(figures[number::3]) for number in range(3))  # (tiles,) each
    strength = torch.cat([_tile_means(_inside(gradient(area).square().sum(0), margin)) for area in areas])
    detailed = strength >= strength.median()
    no_better = (own > (shrunk + turned) / 2)[detailed].float().mean()
    margins = [float((copy - own)[detailed].mean()) for copy in (shrunk, turned)]
    return Evidence(float(no_better), min(margins))


def share_explained_no_better(grey: Tensor, psf: Tensor) -> float:
    """The `share_no_better` of `evidence_for`."""
    return evidence_for(grey, psf).share_no_better


def holds_a_tile(grey: Tensor, psf: Tensor) -> bool:
    """Whether a photo `(1, 1, H, W)` is large enough for `evidence_for` with a PSF `(h, w)`."""
    return bool(_areas(grey, max(psf.shape) // 2 + 1))


def _areas(grey: Tensor, margin: int) -> list[Tensor]:
    """The photo, or the most informative area of each ninth of a large one; only those that hold a tile."""
    areas = [grey]
    if grey[0, 0].numel() > _WHOLE_UP_TO:
        ninths = (cell for band in grey.tensor_split(3, -2) for cell in band.tensor_split(3, -1))
        areas = [informative_area(cell, _AREA) for cell in ninths]
    return [area for area in areas if min(area.shape[-2:]) - 2 * margin >= _TILE]


def _log_implausibility(grey: Tensor, psf: Tensor, margin: int) -> Tensor:
    """The logarithm of `solvers.blind.implausibility` in each tile, without `margin` px of the border: `(tiles,)`."""
    canvas = Canvas.around(grey, psf)
    weight = grey.new_full((1, 1, 1, 1), _PRIOR_WEIGHT)
    sharp = canvas.crop(hyper_laplacian(canvas, weight, _EXPONENT, steps=3, progress=Progress()))
    misfit = _inside(convolve(sharp, psf) - grey, margin).square() / 2
    slopes = _inside(gradient(sharp), margin).abs()  # (2, 1, 1, h, w)
    energy = _tile_means(misfit) + 2 * _PRIOR_WEIGHT * _tile_means(slopes.pow(_EXPONENT).mean(0))
    density = _tile_means(slopes.mean(0)) / _tile_means(slopes.square().mean(0)).sqrt().clamp_min(1e-9)
    return (energy * density).clamp_min(1e-30).log()


def _inside(field: Tensor, margin: int) -> Tensor:
    """`field` `(..., H, W)` without its border."""
    return field[..., margin : field.shape[-2] - margin, margin : field.shape[-1] - margin]


def _tile_means(field: Tensor) -> Tensor:
    """Means over tiles of `(1, 1, H, W)`: `(tiles,)`."""
    return F.avg_pool2d(field, _TILE, stride=_TILE // 2).flatten()
