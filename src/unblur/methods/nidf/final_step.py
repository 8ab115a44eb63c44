"""The final step of `nidf`, not in the paper: the noisy photo is deconvolved with a PSF.

The PSF is estimated with the network's sharp picture as exemplar (Eq. 8), and `wiener_stack` deconvolves the noisy
photo with it. The errors of this picture and of the network's are different, so the result is a weighted mean of both.
Where no PSF explains the blur (see `solvers.psf_evidence`), the network's picture is the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from unblur.contract import Settings
from unblur.imaging.colour import luminance
from unblur.methods.wiener_stack import METHOD as WIENER_STACK
from unblur.solvers.blind import estimate_psf
from unblur.solvers.psf_evidence import share_explained_no_better
from unblur.types import Observation, Progress

# benchmarks/tune_nidf.py
_NO_BETTER = 0.25  # share of the detailed tiles that wrong PSFs explain as well, above which the PSF is not used
_WEIGHT = 0.7  # of the deconvolved picture in the mean


@dataclass(frozen=True)
class FinalStep:
    """The final step for all tiles of one photo.

    Attributes:
        settings: what `wiener_stack` prepared for the whole photo.
    """

    settings: Settings

    def apply(self, observation: Observation, sharp: Tensor, progress: Progress) -> Tensor:
        """Deconvolve a tile, and average it with the network's picture `sharp`, `(B, 3, H, W)`."""
        deconvolved = WIENER_STACK.restore(observation, self.settings, progress).image
        assert deconvolved is not None
        return sharp.lerp(deconvolved.to(sharp), _WEIGHT)


def prepared(
    observation: Observation, denoised: Tensor, sharp: Tensor, progress: Progress
) -> tuple[Observation, FinalStep] | None:
    """Estimate the PSF of a photo, and prepare its deconvolution.

    Args:
        observation: the photo, `(1, 3, H, W)`.
        denoised: `B1` of the photo or of a part of it, `(1, 3, h, w)`.
        sharp: `I1`, same shape.
        progress: told of the stages.

    Returns:
        The observation with the PSF, and the final step; None if the PSF does not explain the blur.
    """
    grey = luminance(denoised)
    psf = estimate_psf(grey, exemplar=luminance(sharp), progress=progress)
    progress.stage("checking the PSF")
    if max(psf.shape) <= 1 or share_explained_no_better(grey, psf) > _NO_BETTER:
        return None
    with_psf = replace(observation, psf=psf[None, None], psf_estimated=True)
    assert WIENER_STACK.prepare is not None
    with_psf, settings = WIENER_STACK.prepare(with_psf, WIENER_STACK.configure({}), progress)
    return with_psf, FinalStep(settings)
