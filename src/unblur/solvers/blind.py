"""Blind PSF estimation for a picture of any size.

An area of the picture is chosen, PSFs of several sizes are estimated on it, and one of them is returned: the most
plausible of those that the photo tells best from their copies turned by 180 degrees.
"""

from __future__ import annotations

import hashlib
import math
import threading
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf
from unblur.solvers.areas import LARGEST, informative_area, informative_place, is_flat
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.solvers.l0 import L0Search, psfs_by_level, reduced, search_psf
from unblur.solvers.psf_fit import tidy
from unblur.solvers.psf_tiles import holds_tiles, most_plausible, turned_margin
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

DEFAULT_SEARCH = L0Search(size=35, weight=4e-3, smoothness=0.3, iterations=5)
"""The defaults of `estimate_psf` and `l0_psf`, except that these try several PSF sizes."""

SMALLEST_PICTURE = 32
"""Shorter side in pixels below which no PSF is estimated from a picture."""

# PSF sizes in pixels that are tried if none is given, each with its L0 weight. Larger ones follow as long as the
# estimated PSF fills its array (benchmarks/tune_blind.py, benchmarks/tune_psf_choice.py).
_LADDER = ((27, 2e-3), (27, 4e-3), (35, 4e-3), (51, 4e-3), (91, 4e-3))
# At this scale all but `_KEPT` estimations are given up, in areas with sides of at least `_GIVEN_UP_FROM` pixels. On 34
# pictures made from validation photos, two give the same gain as all five; one gives 0.1 dB less.
_HALF, _KEPT, _GIVEN_UP_FROM = 0.5, 2, 300
# Chosen by hand.
_NEXT = 2**0.5  # ratio of one PSF size to the one before
_COMPARED = 400  # pixels: side of the area that PSFs are compared with turned copies in
_REGION = 480  # pixels: side of the areas of `regional_psfs`
_PRIOR_WEIGHT, _EXPONENT = 1.5e-4, 0.8  # of the hyper-Laplacian prior in `implausibility`


@dataclass(frozen=True)
class _Answer:
    psf: Tensor
    implausibility: float
    margin: float  # `turned_margin`; 0 if the picture is too small for it


def estimate_psf(
    blurry: Tensor,
    *,
    size: int | None = None,
    weight: float = 1.0,
    smoothness: float = 0.3,
    iterations: int = 5,
    exemplar: Tensor | None = None,
    exemplar_weight: float = 1e-3,
    progress: Progress | None = None,
) -> Tensor:
    """Estimate the PSF of a grey picture with L0-regularised gradients (see `solvers.l0`) at several PSF sizes.

    Args:
        blurry: `(1, 1, H, W)`, [0, 1]. Only the most detailed area of 768 x 768 px is used. If that is less than half
            of the picture, the PSF is compared with those of four other areas.
        size: side of the PSF in pixels, odd, at most half the picture's shorter side; None: several are tried.
        weight: multiplies the L0 weights; with a higher value only larger edges are used.
        smoothness: quadratic penalty on the PSF; higher is smoother.
        iterations: alternations between sharp picture and PSF per pyramid level.
        exemplar: an estimate of the sharp picture, same shape as `blurry`; None: there is none.
        exemplar_weight: weight of the exemplar's gradients; with a higher value they are followed more closely.
        progress: advanced once per pyramid level of each size tried.

    Returns:
        `(h, w)`, odd sides, non-negative, sums to 1, centre of mass at the middle pixel. For a picture
        smaller than 32 px or without edges, a single pixel (no blur).
    """
    progress = progress or Progress()
    rows, columns = informative_place(blurry, LARGEST)
    area = blurry[..., rows, columns]
    guide = None if exemplar is None else exemplar[..., rows, columns]
    height, width = area.shape[-2:]
    if min(height, width) < SMALLEST_PICTURE or is_flat(area):
        return delta_psf().to(blurry)
    largest = min(height, width) // 4
    size = size and min(size | 1, (min(height, width) // 2 - 1) | 1)
    ladder = (
        [(size, 2e-3), (size, 4e-3)] if size else [rung for rung in _LADDER if rung[0] <= max(largest, _LADDER[0][0])]
    )
    searches = [L0Search(side, weight * base, smoothness, iterations, exemplar_weight) for side, base in ladder]
    progress.stage("estimating the PSF", sum(len(search.scales()) for search in searches))
    trials = [_Trial(area, search, progress, guide) for search in searches]
    if len(trials) > _KEPT and min(height, width) >= _GIVEN_UP_FROM:
        trials = _promising(trials, area.device)
    answers = side_by_side(_Trial.finish, trials, area.device)
    best = answers[_best_of(answers)]
    while size is None and best is answers[-1] and max(best.psf.shape) > 0.9 * trials[-1].search.size:
        side = 2 * round(trials[-1].search.size * _NEXT / 2) + 1
        if not searches[-1].size < side <= largest:
            break
        trials.append(_Trial(area, replace(searches[-1], size=side), progress, guide))
        progress.stage(f"estimating a larger PSF ({side} px)", len(trials[-1].search.scales()))
        answers.append(trials[-1].finish())
        best = answers[_best_of(answers)]
    if area.numel() > blurry.numel() / 2:
        return best.psf
    regional = replace(searches[-1], size=size or size_around(best.psf))
    return _consensus(blurry, best.psf, regional, progress, exemplar)


def size_around(psf: Tensor) -> int:
    """An odd side, in pixels, of a square that contains a PSF `(h, w)` with two pixels on each side."""
    return (max(psf.shape) + 4) // 2 * 2 + 1


def _consensus(blurry: Tensor, psf: Tensor, search: L0Search, progress: Progress, exemplar: Tensor | None) -> Tensor:
    """Choose between `psf` and the PSFs of four areas of a large picture, by `most_plausible` in these four areas.

    `psf` is that of the most detailed area, which may contain texture without clear edges, such as foliage.
    """
    regions = regional_psfs(blurry, search, progress, exemplar)
    if not regions:
        return psf
    areas = [area for area, _ in regions]
    candidates = [psf, *(own for _, own in regions)]
    pairs = [(area, candidate) for candidate in candidates for area in areas]
    figures = side_by_side(lambda pair: (math.log(implausibility(*pair)), _margin(*pair)), pairs, blurry.device)
    table = torch.tensor(figures).view(len(candidates), len(areas), 2).mean(1)  # (candidates, 2)
    return candidates[most_plausible(*table.T.tolist())]


class _Trial:
    """The estimation of one PSF, which may be given up when half the size is reached."""

    def __init__(self, area: Tensor, search: L0Search, progress: Progress, exemplar: Tensor | None) -> None:
        self.search = search
        self._area, self._progress = area, progress
        self._scales = search.scales()
        self._psfs = psfs_by_level(area, search, progress, exemplar)

    def begin(self) -> _Answer:
        """Compute the levels up to half the size, and the answer there."""
        count = sum(scale < 1.1 * _HALF for scale in self._scales)
        self._scales = self._scales[count:]
        *_, psf = islice(self._psfs, count)
        return _answer(reduced(self._area, _HALF), tidy(psf))

    def finish(self) -> _Answer:
        """Compute the remaining levels, and the answer at full size."""
        *_, psf = self._psfs
        return _answer(self._area, tidy(psf))

    def give_up(self) -> None:
        """Leave out the remaining levels."""
        for _ in self._scales:
            self._progress.advance()


def _promising(trials: list[_Trial], device: torch.device) -> list[_Trial]:
    """The `_KEPT` trials that are best at half the size, in the order in which they were given."""
    answers = side_by_side(_Trial.begin, trials, device)
    left, kept = list(range(len(trials))), []
    while left and len(kept) < _KEPT:
        kept.append(left.pop(_best_of([answers[number] for number in left])))
    for number in left:
        trials[number].give_up()
    return [trials[number] for number in sorted(kept)]


def _answer(area: Tensor, psf: Tensor) -> _Answer:
    return _Answer(psf, implausibility(area, psf), _margin(area, psf))


def _margin(area: Tensor, psf: Tensor) -> float:
    compared = informative_area(area, _COMPARED)
    return turned_margin(compared, psf) if holds_tiles(compared, psf) else 0.0


def _best_of(answers: list[_Answer]) -> int:
    """The number of the answer to choose."""
    return most_plausible([one.implausibility for one in answers], [one.margin for one in answers])


def implausibility(blurry: Tensor, psf: Tensor) -> float:
    """Measure how little the picture deconvolved with a PSF looks like a photo; lower is better.

    The measure is the energy of the hyper-Laplacian deconvolution, times the normalised sparsity of the deconvolved
    picture's gradients (Krishnan, Tay & Fergus 2011, Eq. 1). Only values of the same photo can be compared.

    Args:
        blurry: the photo's luminance, `(1, 1, H, W)`.
        psf: `(h, w)`.

    Returns:
        A number above 0, without unit.
    """
    # The energy alone is least for no blur (Levin et al. 2009). The sparsity is least for a sharp picture.
    canvas = Canvas.around(blurry, psf)
    weight = blurry.new_full((1, 1, 1, 1), _PRIOR_WEIGHT)
    sharp = canvas.crop(hyper_laplacian(canvas, weight, _EXPONENT, steps=3, progress=Progress()))
    edges = inner_gradient(sharp)
    reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
    observed = blurry[..., reach_y : blurry.shape[-2] - reach_y, reach_x : blurry.shape[-1] - reach_x]
    misfit = (convolve(sharp, psf, "valid") - observed).square().mean() / 2
    energy = misfit + 2 * _PRIOR_WEIGHT * edges.abs().pow(_EXPONENT).mean()
    return max(float(energy) * normalised_sparsity(edges), 1e-30)


def normalised_sparsity(edges: Tensor) -> float:
    """Mean absolute value of a gradient field divided by its root mean square; lower is sparser.

    Krishnan, Tay & Fergus 2011, Eq. 1, per pixel.
    """
    return float(edges.abs().mean() / edges.square().mean().sqrt().clamp_min(1e-9))


def inner_gradient(picture: Tensor) -> Tensor:
    """The gradient without a border of two pixels: `(1, 1, H, W)` -> `(2, 1, 1, H - 4, W - 4)`."""
    return gradient(picture)[..., 2:-2, 2:-2]


class _Remembered:
    """The PSFs of the last areas: those of a photo are wanted when its PSF is chosen, and again when it is judged."""

    def __init__(self, most: int) -> None:
        """`most`: number of PSFs that are kept."""
        self._most = most
        self._psfs: dict[tuple[L0Search, torch.Size, bytes], Tensor] = {}
        self._lock = threading.Lock()

    def psf_of(self, area: Tensor, search: L0Search, progress: Progress) -> Tensor:
        """The PSF of an area `(1, 1, n, m)`, searched for if it is not known."""
        key = search, area.shape, hashlib.sha256(area.cpu().contiguous().numpy().tobytes()).digest()
        with self._lock:
            known = self._psfs.pop(key, None)
        if known is None:
            psf = tidy(search_psf(area, search, progress))
        else:
            psf = known
            progress.advance(len(search.scales()))
        with self._lock:
            self._psfs[key] = psf
            while len(self._psfs) > self._most:
                del self._psfs[next(iter(self._psfs))]
        return psf.to(area.device, copy=True)


_REMEMBERED = _Remembered(16)  # of four photos, which a server may restore at the same time


def regional_psfs(
    blurry: Tensor, search: L0Search, progress: Progress, exemplar: Tensor | None = None
) -> list[tuple[Tensor, Tensor]]:
    """Estimate a PSF from the most informative area of each quarter of a picture.

    Args:
        blurry: `(1, 1, H, W)`.
        search: parameters of each estimation.
        progress: advanced once per pyramid level and area.
        exemplar: an estimate of the sharp picture, same shape; None: there is none.

    Returns:
        Pairs of an area `(1, 1, n, m)` and its PSF `(h, w)`. Areas without edges are left out. Empty if the picture is
        too small for four areas.
    """
    height, width = blurry.shape[-2] // 2, blurry.shape[-1] // 2
    if min(height, width) < _REGION // 2:
        return []
    progress.stage("comparing the blur of four areas", 4 * len(search.scales()))
    pictures = blurry if exemplar is None else torch.cat((blurry, exemplar), 1)
    quarters = [pictures[..., top : top + height, left : left + width] for top in (0, height) for left in (0, width)]
    places = [informative_place(quarter[:, :1], _REGION) for quarter in quarters]
    areas = [quarter[..., rows, columns] for quarter, (rows, columns) in zip(quarters, places, strict=True)]
    areas = [area for area in areas if not is_flat(area[:, :1])]

    def psf_of(area: Tensor) -> Tensor:
        if exemplar is not None:
            return tidy(search_psf(area[:, :1], search, progress, area[:, 1:]))
        return _REMEMBERED.psf_of(area, search, progress)

    psfs = side_by_side(psf_of, areas, blurry.device)
    return [(area[:, :1], psf) for area, psf in zip(areas, psfs, strict=True)]
