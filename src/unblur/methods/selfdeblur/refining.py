"""The `fast` way: PSFs found by their strongest edges are refined on hidden pixels, and the one that predicts best wins.

Of SelfDeblur it keeps the PSF network and learning from one picture without a truth. The picture's network, which is
what takes the time, gives way to a deconvolution: that is a sharp picture too, a differentiable one, and
needs no training. `unblur.solvers.held_out` has the mathematics.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.psf import pad_psf
from unblur.methods.selfdeblur.networks import PSF_INPUTS, DensePsf
from unblur.solvers.blind import estimate_psf, informative_area, size_around
from unblur.solvers.held_out import FIRST_WEIGHT, best_weight, held_out_error, hide, refine_psf
from unblur.solvers.l0 import L0Search, search_psf
from unblur.solvers.psf_fit import prune, tidy
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

AREA = 320
"""Side in pixels of the area a PSF is refined on."""

# Weights and smoothnesses of the searches that propose a PSF beside `estimate_psf` itself.
PROPOSALS = ((2e-3, 0.3), (4e-3, 0.3), (1e-3, 0.3), (2e-3, 0.1), (4e-3, 0.1), (2e-3, 1.0), (4e-3, 1.0))
_VOTES = 2  # sets of hidden pixels that decide between PSFs
_FAINT, _ISLAND = 0.02, 0.005  # of the maximum, of the light: what is taken for noise in a refined PSF


@dataclass(frozen=True)
class Refined:
    """What refining came to.

    Attributes:
        psf: `(h, w)`.
        first: the first estimate, `(h, w)`.
        error: root mean squared error of predicting hidden pixels.
        first_error: that of the first estimate.
    """

    psf: Tensor
    first: Tensor
    error: float
    first_error: float

    def note(self) -> str:
        """What refining did, in a sentence."""
        if self.psf is self.first:
            return "Refining did not improve the PSF found by its edges."
        return f"The PSF was refined: hidden pixels are predicted {1 - self.error / self.first_error:.1%} better."


def refined_psf(
    grey: Tensor,
    *,
    size: int | None,
    candidates: int,
    iterations: int,
    learning_rate: float,
    coarse: float,
    seed: int,
    until: float | None,
    progress: Progress,
) -> Refined:
    """The PSF of one grey picture `(1, 1, H, W)`; a first estimate of one pixel is left as it is.

    Args:
        grey: the picture; of a large one the most detailed area.
        size: side of the PSF; None: found.
        candidates: how many PSFs are refined, the most promising first.
        iterations: steps of refining each of them.
        learning_rate: of the PSF network.
        coarse: see `refine_psf`.
        seed: of the networks and of what is hidden.
        until: `time.monotonic()` at which refining stops; None: after the last iteration.
        progress: told of the stages; may cancel.
    """
    first = estimate_psf(grey, size=size, progress=progress)
    if first.numel() == 1:
        return Refined(first, first, 0.0, 0.0)
    area = informative_area(grey, AREA)
    side = size_around(first) if size is None else max(size | 1, *first.shape)
    side = min(side, (min(area.shape[-2:]) // 2 - 1) | 1)
    if max(first.shape) > side:  # too small a picture to hide pixels from
        return Refined(first, first, 0.0, 0.0)
    proposals = [first, *_proposals(area, side, candidates, progress)]
    judge = _Judge.of(area, first, seed)
    proposals = _best(proposals, judge, candidates)
    progress.stage("refining the PSF", len(proposals) * iterations)

    starts = [pad_psf(psf, side) for psf in proposals]
    networks = [_network_for(start, seed) for start in starts]  # here, since torch's dice are not the threads' own

    def refine(number: int) -> Tensor:
        network, noise = networks[number]
        refined = refine_psf(
            area,
            starts[number],
            lambda: network(noise),
            network.parameters(),
            learning_rate=learning_rate,
            iterations=iterations,
            coarse=coarse,
            generator=torch.Generator().manual_seed(seed + number),
            until=until,
            progress=progress,
        )
        return tidy(prune(refined, least=_FAINT, island=_ISLAND))

    refined = side_by_side(refine, range(len(starts)), grey.device)
    best = _best([first, *refined], judge, 1)[0]
    return Refined(best, first, judge(best), judge(first))


def _proposals(area: Tensor, side: int, candidates: int, progress: Progress) -> list[Tensor]:
    """PSFs of other searches, to choose from; none where only one is to be refined."""
    if candidates == 1:
        return []
    searches = [L0Search(side, weight, smoothness, 5) for weight, smoothness in PROPOSALS]
    progress.stage("looking for other PSFs", sum(len(search.scales()) for search in searches))
    found = side_by_side(lambda search: tidy(search_psf(area, search, progress)), searches, area.device)
    return [psf for psf in found if psf.numel() > 1]


@dataclass(frozen=True)
class _Judge:
    """How well PSFs predict the same hidden pixels under the same prior."""

    area: Tensor
    weight: float
    hidden: list[Tensor]

    @classmethod
    def of(cls, area: Tensor, psf: Tensor, seed: int) -> _Judge:
        dice = torch.Generator().manual_seed(seed)
        hidden = [hide(area, dice) for _ in range(_VOTES)]
        return cls(area, best_weight(area, psf[None, None], FIRST_WEIGHT, hidden[0]), hidden)

    def __call__(self, psf: Tensor) -> float:
        """Root mean squared error of the PSF `(h, w)`."""
        with torch.no_grad():
            errors = [held_out_error(self.area, psf[None, None], self.weight, hidden) for hidden in self.hidden]
        return float(torch.stack(errors).mean().sqrt())


def _best(psfs: list[Tensor], judge: _Judge, count: int) -> list[Tensor]:
    """The `count` PSFs that predict hidden pixels best, best first."""
    errors = side_by_side(judge, psfs, judge.area.device)
    order = sorted(range(len(psfs)), key=lambda number: errors[number])
    return [psfs[number] for number in order[:count]]


def _network_for(start: Tensor, seed: int) -> tuple[DensePsf, Tensor]:
    """The PSF network, its bias set so that it gives `start` `(h, w)` at first, and its input."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DensePsf((start.shape[-2], start.shape[-1]))
    noise = 0.1 * torch.rand(PSF_INPUTS, generator=torch.Generator().manual_seed(seed))
    network.start_from(start)
    return network.to(start.device), noise.to(start.device)
