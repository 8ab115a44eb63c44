"""The preset `fast`: several PSFs are estimated from strong edges and refined on hidden pixels; the best one is used.

As in SelfDeblur, a PSF network is fitted to one picture without ground truth. The picture's network, which takes most
of the time, is replaced by a deconvolution, which is differentiable and needs no fit. `unblur.solvers.held_out`
describes the loss.
"""

from __future__ import annotations

import copy
import itertools
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.psf import pad_psf
from unblur.methods.selfdeblur.fitting import INPUT_RANGE
from unblur.methods.selfdeblur.networks import PSF_INPUTS, DensePsf, initialised
from unblur.solvers.areas import informative_area
from unblur.solvers.blind import estimate_psf, implausibility, size_around
from unblur.solvers.held_out import FIRST_WEIGHT, Hidden, best_weight, held_out_error, hide, refine_psf, square_to_hide
from unblur.solvers.l0 import L0Search, revise_psf, search_psf
from unblur.solvers.psf_fit import prune, tidy
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

REFINED_AREA = 320
"""Side in pixels of the area on which a PSF is refined; chosen by hand."""

# `weight` and `smoothness` of the searches (`L0Search`) that estimate more PSFs to refine.
PROPOSALS = ((2e-3, 0.3), (4e-3, 0.3), (8e-3, 0.3), (4e-3, 0.1), (2e-3, 1.0), (4e-3, 1.0))
# Chosen by hand; benchmarks/tune_selfdeblur.py measures the gain of refining as a whole.
_SMOOTHNESS = 0.3  # quadratic penalty on the PSF in `revise_psf`, see `L0Search`
_VOTES = 2  # number of sets of hidden pixels with which PSFs are compared
_FAINT, _ISLAND = 0.02, 0.005  # `least` and `island` of `prune` for a refined PSF


@dataclass(frozen=True)
class Found:
    """A PSF and how it was found.

    Attributes:
        psf: the best PSF, `(h, w)`.
        first: the first estimate, `(h, w)`.
        error: root mean squared error of the hidden pixels predicted with `psf`; 0 if it was not computed.
        first_error: the same for `first`.
    """

    psf: Tensor
    first: Tensor
    error: float
    first_error: float

    def note(self) -> str:
        """Describe in one sentence how the PSF was found."""
        if self.first.numel() == 1:
            return "No blur was found: the PSF is a single pixel."
        if not self.first_error:
            return "The PSF was estimated from edges. The picture is too small, or the PSF too large, to refine it."
        if self.psf is self.first:
            return "Refining did not improve the PSF estimated from edges."
        return f"The PSF was refined: hidden pixels are predicted {1 - self.error / self.first_error:.1%} better."


def find_psf(
    grey: Tensor,
    *,
    size: int | None,
    candidates: int,
    rounds: int,
    iterations: int,
    learning_rate: float,
    seed: int,
    until: float | None,
    progress: Progress,
) -> Found:
    """Estimate the PSF of one grey picture from edges, and refine it on hidden pixels.

    Args:
        grey: the picture, `(1, 1, H, W)`. Of a large one only the most detailed area is used for refining.
        size: side of the PSF in pixels; None: estimated.
        candidates: number of PSFs that are refined, the best ones first.
        rounds: how often each of them is refined; between two rounds it is fitted to edges again.
        iterations: steps of Adam in one round.
        learning_rate: learning rate of the PSF network.
        seed: seed of the networks and of the choice of hidden pixels.
        until: time, as `time.monotonic()`, at which refining stops early; None: never.
        progress: shows the stages, and can cancel.

    Returns:
        The best PSF. A first estimate of a single pixel (no blur) is not refined.
    """
    first = estimate_psf(grey, size=size, progress=progress)
    if first.numel() == 1:  # no blur, or no edges
        return Found(first, first, 0.0, 0.0)
    area = informative_area(grey, REFINED_AREA)
    side = size_around(first) if size is None else max(size | 1, *first.shape)
    if side > min(area.shape[-2:]) // 2:  # too few pixels could be predicted
        return Found(first, first, 0.0, 0.0)
    square = square_to_hide(area)
    judge = _Judge.of(area, first, side, square, seed)
    in_time = until is None or time.monotonic() < until
    others = _proposals(area, side, progress) if candidates > 1 and in_time else []
    proposals = judge.verdicts([first, *others])
    before = next(verdict for verdict in proposals if verdict.psf is first)
    proposals = [verdict.psf for verdict in proposals[:candidates]]
    progress.stage("refining the PSF", len(proposals) * rounds * iterations)
    network, noise = _network((side, side), seed)
    network, noise = network.to(grey.device), noise.to(grey.device)

    def refine(number: int) -> list[Tensor]:
        """Refine PSF `number`: the PSF after each round."""
        start = _within(proposals[number], side)
        generator, found = torch.Generator().manual_seed(seed + number), []
        for turn in range(rounds):
            if until is not None and time.monotonic() > until:
                progress.advance((rounds - turn) * iterations)
                break
            if turn > 0:
                start = _within(revise_psf(area, start, _SMOOTHNESS), side)
            own = copy.deepcopy(network)
            own.start_from(start)
            refined = refine_psf(
                area,
                lambda own=own: own(noise),
                own.parameters(),
                learning_rate=learning_rate,
                iterations=iterations,
                square=square,
                generator=generator,
                until=until,
                progress=progress,
            )
            start = _within(prune(refined, least=_FAINT, island=_ISLAND), side)
            found.append(tidy(start))
        return found

    refined = itertools.chain(*side_by_side(refine, range(len(proposals)), grey.device))
    better = [verdict for verdict in judge.verdicts(list(refined)) if verdict.error < before.error]
    best = better[0] if better else before
    return Found(best.psf, first, best.error, before.error)


def _within(psf: Tensor, side: int) -> Tensor:
    """Centre a PSF, and crop and pad it to a square of odd `side`: `(side, side)`."""
    psf = tidy(psf)
    rows, columns = (max(length - side, 0) // 2 for length in psf.shape)
    psf = psf[rows : psf.shape[0] - rows, columns : psf.shape[1] - columns]
    return pad_psf(psf / psf.sum(), side)


def _proposals(area: Tensor, side: int, progress: Progress) -> list[Tensor]:
    """Estimate more PSFs with other parameters."""
    searches = [L0Search(side, weight, smoothness, 5) for weight, smoothness in PROPOSALS]
    progress.stage("looking for other PSFs", sum(len(search.scales()) for search in searches))
    found = side_by_side(lambda search: tidy(search_psf(area, search, progress)), searches, area.device)
    return [psf for psf in found if psf.numel() > 1]


@dataclass(frozen=True)
class _Judge:
    """Compares PSFs by the error of hidden pixels predicted with them, times the implausibility of the sharp photo."""

    # The error depends mostly on the details of a PSF, the implausibility mostly on its coarse shape.

    area: Tensor
    side: int
    weight: float
    hidden: list[Hidden]

    @classmethod
    def of(cls, area: Tensor, psf: Tensor, side: int, square: int, seed: int) -> _Judge:
        generator = torch.Generator().manual_seed(seed)
        hidden = [hide(area, generator, square) for _ in range(_VOTES)]
        return cls(area, side, best_weight(area, _within(psf, side)[None, None], FIRST_WEIGHT, hidden[0]), hidden)

    def verdicts(self, psfs: list[Tensor]) -> list[_Verdict]:
        """Compute the errors of PSFs; the best PSF is first."""
        return sorted(side_by_side(self._verdict, psfs, self.area.device), key=lambda verdict: verdict.figure)

    def _verdict(self, psf: Tensor) -> _Verdict:
        padded = _within(psf, self.side)  # all of one size, since with a larger PSF fewer pixels are predicted
        with torch.no_grad():
            errors = [held_out_error(self.area, padded[None, None], self.weight, hidden) for hidden in self.hidden]
        error = float(torch.stack(errors).mean().sqrt())
        return _Verdict(psf, error, error * implausibility(self.area, padded))


@dataclass(frozen=True)
class _Verdict:
    """A PSF, the root mean squared error of hidden pixels, and that error times the implausibility."""

    psf: Tensor
    error: float
    figure: float


def _network(size: tuple[int, int], seed: int) -> tuple[DensePsf, Tensor]:
    """Create the PSF network and its input."""
    network = initialised(lambda: DensePsf(size), torch.Generator().manual_seed(seed))
    assert isinstance(network, DensePsf)
    return network, INPUT_RANGE * torch.rand(PSF_INPUTS, generator=torch.Generator().manual_seed(seed))
