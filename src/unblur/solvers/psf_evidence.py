"""Does one PSF explain the blur everywhere in a photo? A test that needs no second estimate.

A deconvolved picture becomes less like a photo with every bit of blur that is taken out of it: noise and artefacts grow
(Levin et al. 2009). Only the PSF that really blurred it makes up for that with clearer edges, and so explains the photo
better than copies of itself that are wrong on purpose: one shrunk to 0.7 of its size, one turned by 180 degrees (the
blur with the same frequencies and other phases). The PSF that an estimator makes up for a scene that moves is no better
than these copies, except perhaps on the object from which it was read.
"""

from __future__ import annotations

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

_SHRUNK = 0.7  # size of the smaller copy; of 0.5 and 0.7 the one that tells more (benchmarks/tune_judge.py)
_TILE = 64  # px, side of the tiles in which the PSF and its copies are compared; they overlap by half
_WHOLE_UP_TO = 1_000_000  # px; of a larger photo nine areas are looked at
_AREA = 480  # px, side of each
_PRIOR_WEIGHT, _EXPONENT = 1.5e-4, 0.8  # of the deconvolution, as in `solvers.blind.implausibility`


def share_explained_no_better(grey: Tensor, psf: Tensor) -> float:
    """Share of a photo's detailed tiles that `psf` explains no better than its wrong copies do on the average.

    Tiles are 64 px wide; the half of them with the stronger edges counts.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        psf: `(h, w)`, odd sides, smaller than the photo.

    Returns:
        0 for a shaken photo and the PSF that shook it, up to 1 for a wrong one; 0 too where the photo is too small to
        hold a tile.
    """
    copies = (psf, resize_psf(psf.cpu(), _SHRUNK).to(psf), psf.flip(0, 1))
    margin = max(psf.shape) // 2 + 1
    areas = [area for area in _areas(grey) if min(area.shape[-2:]) - 2 * margin >= _TILE]
    if not areas:
        return 0.0
    tasks = [(area, copy) for area in areas for copy in copies]
    figures = side_by_side(lambda task: _log_implausibility(*task, margin), tasks, grey.device)
    own, shrunk, turned = (torch.cat(figures[number::3]) for number in range(3))  # (tiles,) each
    strength = torch.cat([_tile_means(_inside(gradient(area).square().sum(0), margin)) for area in areas])
    detailed = strength >= strength.median()
    return float((own > (shrunk + turned) / 2)[detailed].float().mean())


def _areas(grey: Tensor) -> list[Tensor]:
    """The photo, or the most informative area of each ninth of a large one."""
    if grey[0, 0].numel() <= _WHOLE_UP_TO:
        return [grey]
    ninths = (cell for band in grey.tensor_split(3, -2) for cell in band.tensor_split(3, -1))
    return [informative_area(cell, _AREA) for cell in ninths]


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
