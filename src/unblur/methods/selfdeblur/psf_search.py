"""The preset `fast`: PSFs found from strong edges are refined on hidden pixels, and the best one is chosen.

It keeps SelfDeblur's PSF network and learns from one picture without ground truth. A deconvolution takes the place of
the picture's network, which takes most of the time: it makes a sharp picture too, is differentiable, and needs no
training. `unblur.solvers.held_out` has the mathematics.
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
from unblur.solvers.blind import estimate_psf, implausibility, informative_area, size_around
from unblur.solvers.held_out import FIRST_WEIGHT, Hidden, best_weight, held_out_error, hide, refine_psf, square_to_hide
from unblur.solvers.l0 import L0Search, revise_psf, search_psf
from unblur.solvers.psf_fit import prune, tidy
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

REFINED_AREA = 320
"""Side in pixels of the area a PSF is refined on."""

# Weights and smoothnesses of the searches that propose a PSF beside `estimate_psf` itself.
PROPOSALS = ((2e-3, 0.3), (4e-3, 0.3), (8e-3, 0.3), (4e-3, 0.1), (2e-3, 1.0), (4e-3, 1.0))
# The constants below were chosen by hand; benchmarks/tune_selfdeblur.py measures the whole.
_SMOOTHNESS = 0.3  # quadratic penalty on the PSF where it is fitted to edges, see `L0Search`
_VOTES = 2  # sets of hidden pixels by which PSFs are compared
_FAINT, _ISLAND = 0.02, 0.005  # noise in a refined PSF: values below this share of the maximum, islands of less light


@dataclass(frozen=True)
class Found:
    """A PSF and how it was found.

    Attributes:
        psf: the PSF chosen, `(h, w)`.
        first: the first estimate, `(h, w)`.
        error: root mean squared error of predicting hidden pixels.
        first_error: that of the first estimate.
    """

    psf: Tensor
    first: Tensor
    error: float
    first_error: float

    def note(self) -> str:
        """How the PSF was found, in a sentence."""
        if self.first.numel() == 1:
            return "No blur was found: the PSF is a single pixel."
        if not self.first_error:
            return (
                "The PSF is the one found by its edges; the picture is too small, or the PSF too large, to refine it."
            )
        if self.psf is self.first:
            return "Refining did not improve the PSF found by its edges."
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
    """Find the PSF of one grey picture `(1, 1, H, W)`; a first estimate of one pixel is returned as it is.

    Args:
        grey: the picture; of a large one the most detailed area.
        size: side of the PSF; None: found.
        candidates: how many PSFs are refined, the most promising first.
        rounds: how often each of them is refined; between two rounds it is fitted to edges anew.
        iterations: steps of one round.
        learning_rate: of the PSF network.
        seed: of the networks and of what is hidden.
        until: `time.monotonic()` at which refining stops; None: after the last iteration.
        progress: told of the stages; may cancel.
    """
    first = estimate_psf(grey, size=size, progress=progress)
    if first.numel() == 1:  # no blur, or nothing to see it by
        return Found(first, first, 0.0, 0.0)
    area = informative_area(grey, REFINED_AREA)
    side = size_around(first) if size is None else max(size | 1, *first.shape)
    if side > min(area.shape[-2:]) // 2:  # hardly a pixel is left that can be predicted
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
        """The PSF after each round."""
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
    """A PSF centred on its centre of mass in a square of odd `side`; what does not fit in is cut off."""
    psf = tidy(psf)
    rows, columns = (max(length - side, 0) // 2 for length in psf.shape)
    psf = psf[rows : psf.shape[0] - rows, columns : psf.shape[1] - columns]
    return pad_psf(psf / psf.sum(), side)


def _proposals(area: Tensor, side: int, progress: Progress) -> list[Tensor]:
    """PSFs of other searches, to choose from."""
    searches = [L0Search(side, weight, smoothness, 5) for weight, smoothness in PROPOSALS]
    progress.stage("looking for other PSFs", sum(len(search.scales()) for search in searches))
    found = side_by_side(lambda search: tidy(search_psf(area, search, progress)), searches, area.device)
    return [psf for psf in found if psf.numel() > 1]


@dataclass(frozen=True)
class _Judge:
    """Compares PSFs: by how well they predict the same hidden pixels, and by how plausible the deconvolved photo is.

    The first measures the fine detail of a PSF better than its coarse shape, the second the other way round.
    """

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
        """The figures of each PSF, the best first."""
        return sorted(side_by_side(self._verdict, psfs, self.area.device), key=lambda verdict: verdict.figure)

    def _verdict(self, psf: Tensor) -> _Verdict:
        padded = _within(psf, self.side)  # of one size, since a larger PSF would be asked for fewer pixels
        with torch.no_grad():
            errors = [held_out_error(self.area, padded[None, None], self.weight, hidden) for hidden in self.hidden]
        error = float(torch.stack(errors).mean().sqrt())
        return _Verdict(psf, error, error * implausibility(self.area, padded))


@dataclass(frozen=True)
class _Verdict:
    """A PSF, its root mean squared error on hidden pixels, and the figure to compare PSFs of one photo by."""

    psf: Tensor
    error: float
    figure: float


def _network(size: tuple[int, int], seed: int) -> tuple[DensePsf, Tensor]:
    """The PSF network and its input."""
    network = initialised(lambda: DensePsf(size), torch.Generator().manual_seed(seed))
    assert isinstance(network, DensePsf)
    return network, INPUT_RANGE * torch.rand(PSF_INPUTS, generator=torch.Generator().manual_seed(seed))
