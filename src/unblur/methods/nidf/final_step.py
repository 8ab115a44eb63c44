"""The final step of `nidf`, which is not in the paper: the noisy photo is deconvolved with a PSF.

Several PSFs are estimated from both pictures of the networks, with the sharp one as exemplar (Eq. 8). Of those that
explain the blur (see `solvers.psf_evidence`) the most plausible one is taken, and `wiener_stack` deconvolves the noisy
photo with it. The errors of the networks and of the deconvolution differ, so the result is the weighted mean of both
pictures. If no PSF explains the blur, or the photo is too small to tell, the networks' sharp picture is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.layers.precision import Precision
from unblur.methods.wiener_stack import METHOD as WIENER_STACK
from unblur.methods.wiener_stack import WienerStackSettings
from unblur.methods.wiener_stack.photo import Parameters
from unblur.solvers.areas import informative_place, is_flat
from unblur.solvers.blind import DEFAULT_SEARCH, SMALLEST_PICTURE, implausibility
from unblur.solvers.l0 import search_psf
from unblur.solvers.psf_evidence import evidence_for, holds_a_tile, share_explained_no_better
from unblur.solvers.psf_fit import tidy
from unblur.solvers.workers import side_by_side
from unblur.types import Observation, Progress

# Side in pixels and L0 weight of each search for a PSF. The last two are for large photos only.
_SEARCHES = (
    (13, 2e-3),
    (19, 2e-3),
    (27, 2e-3),
    (35, 4e-3),
    (51, 4e-3),
    (35, 1e-3),
    (51, 8e-3),
    (73, 4e-3),
    (103, 4e-3),
)
_AREA = 640  # pixels: side of the area of the photo from which the PSFs are estimated; chosen by hand
_SIZES_PER_PHOTO = 4  # smallest ratio of the photo's side and the PSF's; chosen by hand
_NO_BETTER_ELSEWHERE = 0.25  # as `_NO_BETTER`, for the mean over other parts of a large photo; chosen by hand
# benchmarks/tune_nidf.py
_NO_BETTER = 0.25  # largest share of the detailed tiles that wrong PSFs may explain as well; else a PSF is not used
_MARGIN = 0.1  # least margin by which a PSF must be better than its wrong copies, see `psf_evidence.Evidence`
_WEIGHT = 0.7  # of the deconvolved picture in the mean


@dataclass(frozen=True)
class FinalStep:
    """The final step for all tiles of one photo.

    Attributes:
        settings: what `wiener_stack` prepared for the whole photo.
    """

    settings: WienerStackSettings | Parameters

    def apply(self, observation: Observation, sharp: Tensor, progress: Progress) -> Tensor:
        """Deconvolve a photo or a tile of it, and compute the mean with the networks' picture.

        Args:
            observation: the noisy photo, `(1, 3, H, W)`, and its PSF, as `prepared` returned it, or a tile.
            sharp: `I1`, same shape.
            progress: advanced once per pass of the deconvolution.

        Returns:
            `(1, 3, H, W)`.
        """
        deconvolved = WIENER_STACK.restore(observation, self.settings, progress).image
        assert deconvolved is not None
        return sharp.lerp(deconvolved.to(sharp), _WEIGHT)


def prepared(
    observation: Observation,
    denoised: Tensor,
    sharp: Tensor,
    precision: Precision,
    progress: Progress,
    elsewhere: Sequence[Tensor] = (),
) -> tuple[Observation, FinalStep] | None:
    """Estimate the PSF of a photo, and prepare its deconvolution.

    Args:
        observation: the photo, `(1, C, H, W)`, C = 1 or 3.
        denoised: `B1` of the photo or of a part of it, `(1, 3, h, w)`.
        sharp: `I1`, same shape.
        precision: number format of the network of `wiener_stack`.
        progress: advanced while the PSF is estimated and corrected.
        elsewhere: `B1` of other parts of the photo, `(1, 3, h, w)` each, which the PSF must explain as well.

    Returns:
        The observation with the PSF, and the final step; None if the PSF does not explain the blur, or if that cannot
        be told.
    """
    psf = explaining_psf(luminance(denoised), luminance(sharp), progress)
    if psf is None or not _explains(psf, [luminance(part) for part in elsewhere]):
        return None
    with_psf = replace(observation, psf=psf[None, None], psf_estimated=True)
    assert WIENER_STACK.prepare is not None
    settings = WIENER_STACK.configure({"precision": precision})
    with_psf, settings = WIENER_STACK.prepare(with_psf, settings, progress)
    return with_psf, FinalStep(settings)


def explaining_psf(denoised: Tensor, sharp: Tensor, progress: Progress) -> Tensor | None:
    """Estimate several PSFs, and choose the most plausible one of those that explain the blur.

    Args:
        denoised: luminance of `B1`, `(1, 1, H, W)`.
        sharp: luminance of `I1`, same shape.
        progress: advanced once per scale of each search.

    Returns:
        `(h, w)`; None if there is no such PSF.
    """
    rows, columns = informative_place(denoised, _AREA)
    denoised, sharp = (picture[..., rows, columns] for picture in (denoised, sharp))
    side = min(denoised.shape[-2:])
    searches = [
        replace(DEFAULT_SEARCH, size=size, weight=weight)
        for size, weight in _SEARCHES
        if size * _SIZES_PER_PHOTO <= max(side, _SEARCHES[0][0] * _SIZES_PER_PHOTO)
    ]
    if side < SMALLEST_PICTURE or is_flat(denoised):
        return None
    progress.stage("estimating the PSF", sum(len(search.scales()) for search in searches))
    psfs = side_by_side(lambda search: tidy(search_psf(denoised, search, progress, sharp)), searches, denoised.device)
    progress.stage("checking the PSFs", len(psfs))
    explaining = []
    for psf in psfs:
        if max(psf.shape) > 1 and holds_a_tile(denoised, psf):
            evidence = evidence_for(denoised, psf)
            if evidence.share_no_better <= _NO_BETTER and evidence.margin >= _MARGIN:
                explaining.append(psf)
        progress.advance()
    return min(explaining, key=lambda psf: implausibility(denoised, psf), default=None)


def _explains(psf: Tensor, parts: Sequence[Tensor]) -> bool:
    """Whether a PSF explains the blur of most parts `(1, 1, h, w)`; True if no part is large enough to tell."""
    shares = [share_explained_no_better(part, psf) for part in parts if holds_a_tile(part, psf)]
    return not shares or sum(shares) / len(shares) <= _NO_BETTER_ELSEWHERE
