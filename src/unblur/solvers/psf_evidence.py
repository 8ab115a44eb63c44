"""Measure whether one PSF explains the blur everywhere in a photo.

Deconvolution adds noise and artefacts (Levin et al. 2009). With the true PSF the edges also become clearer, and the
picture looks more like a photo than with a wrong PSF. So a PSF is compared with two wrong copies of itself: one shrunk
to 0.7 of its size, and one turned by 180 degrees (its spectrum has the same absolute values and other phases). If
objects of the scene moved, the estimated PSF is no better than its copies, except perhaps on the object that it was
estimated from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.psf import resize_psf
from unblur.solvers.areas import informative_area
from unblur.solvers.psf_tiles import LITTLE_NOISE, edge_strength, holds_tiles, log_implausibility, margin_of
from unblur.solvers.workers import side_by_side

NO_BETTER_IN_NOISE = 0.28
"""Largest `share_no_better` of a right PSF that is told from its turned copy, with the weight for some noise."""

_SHRUNK = 0.7  # size of the smaller copy; of 0.5 and 0.7 the one that separates better (benchmarks/tune_judge.py)
_WHOLE_UP_TO = 1_000_000  # px; of a larger photo nine areas are looked at
_AREA = 480  # px, side of each


@dataclass(frozen=True)
class Evidence:
    """How much better a PSF explains a photo than wrong copies of it do.

    Attributes:
        share_no_better: share of the photo's detailed tiles in which the copies are as good on the average: about 0 for
            a shaken photo and its true PSF, up to 1 for a wrong PSF; 0 also if the photo holds no tile.
        margin: mean difference of the logarithm of `solvers.blind.implausibility` in these tiles, for the copy that is
            less different: about .2 or more for a true PSF, about 0 or less for a wrong one; 0 if there is no tile.
        turned: this difference for the turned copy, as `solvers.psf_tiles.turned_margin`; 0 if there is no tile.
        tiles: number of detailed tiles.
    """

    share_no_better: float
    margin: float
    turned: float = 0.0
    tiles: int = 0

    @property
    def largest_share(self) -> float:
        """`share_no_better` plus two standard errors: of few tiles, the share is uncertain."""
        share = self.share_no_better
        return share + 2 * math.sqrt(share * (1 - share) / max(self.tiles, 1))


def evidence_for(grey: Tensor, psf: Tensor, weight: float = LITTLE_NOISE) -> Evidence:
    """Compare a PSF with a shrunk and a turned copy of it, in tiles of 64 px of a photo.

    The half of the tiles with the stronger edges counts.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        psf: `(h, w)`, odd sides, smaller than the photo.
        weight: of the deconvolution's prior; `psf_tiles.SOME_NOISE` for a photo with grain or JPEG blocks.
    """
    copies = (psf, resize_psf(psf.cpu(), _SHRUNK).to(psf), psf.flip(0, 1))
    margin = margin_of(psf)
    areas = _areas(grey, psf)
    if not areas:
        return Evidence(0.0, 0.0, 0.0)
    tasks = [(area, copy) for area in areas for copy in copies]
    figures = side_by_side(lambda task: log_implausibility(*task, margin, weight), tasks, grey.device)
    own, shrunk, turned = (torch.cat(figures[number::3]) for number in range(3))  # (tiles,) each
    strength = torch.cat([edge_strength(area, margin) for area in areas])
    detailed = strength >= strength.median()
    no_better = (own > (shrunk + turned) / 2)[detailed].float().mean()
    margins = [float((copy - own)[detailed].mean()) for copy in (shrunk, turned)]
    return Evidence(float(no_better), min(margins), margins[1], int(detailed.sum()))


def share_explained_no_better(grey: Tensor, psf: Tensor) -> float:
    """The `share_no_better` of `evidence_for`."""
    return evidence_for(grey, psf).share_no_better


def holds_a_tile(grey: Tensor, psf: Tensor) -> bool:
    """Whether a photo `(1, 1, H, W)` is large enough for `evidence_for` with a PSF `(h, w)`."""
    return bool(_areas(grey, psf))


def _areas(grey: Tensor, psf: Tensor) -> list[Tensor]:
    """The photo, or the most informative area of each ninth of a large one; only those that hold a tile."""
    areas = [grey]
    if grey[0, 0].numel() > _WHOLE_UP_TO:
        ninths = (cell for band in grey.tensor_split(3, -2) for cell in band.tensor_split(3, -1))
        areas = [informative_area(cell, _AREA) for cell in ninths]
    return [area for area in areas if holds_tiles(area, psf)]
