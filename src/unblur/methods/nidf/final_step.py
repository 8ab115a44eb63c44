"""The final step of `nidf`, which is not in the paper: the noisy photo is deconvolved with a PSF.

The PSF is estimated from both pictures of the networks, with the sharp one as exemplar (Eq. 8), and `wiener_stack`
deconvolves the noisy photo with it. The errors of the networks and of the deconvolution differ, so the result is the
weighted mean of both pictures. If the PSF does not explain the blur (see `solvers.psf_evidence`), or the photo is too
small to tell, the networks' sharp picture is the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.layers.precision import Precision
from unblur.methods.wiener_stack import METHOD as WIENER_STACK
from unblur.methods.wiener_stack import WienerStackSettings
from unblur.methods.wiener_stack.photo import Parameters
from unblur.solvers.blind import estimate_psf
from unblur.solvers.psf_evidence import holds_a_tile, share_explained_no_better
from unblur.types import Observation, Progress

# benchmarks/tune_nidf.py
_NO_BETTER = 0.25  # largest share of the detailed tiles that wrong PSFs may explain as well; else the PSF is not used
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
    observation: Observation, denoised: Tensor, sharp: Tensor, precision: Precision, progress: Progress
) -> tuple[Observation, FinalStep] | None:
    """Estimate the PSF of a photo, and prepare its deconvolution.

    Args:
        observation: the photo, `(1, C, H, W)`, C = 1 or 3.
        denoised: `B1` of the photo or of a part of it, `(1, 3, h, w)`.
        sharp: `I1`, same shape.
        precision: number format of the network of `wiener_stack`.
        progress: advanced while the PSF is estimated and corrected.

    Returns:
        The observation with the PSF, and the final step; None if the PSF does not explain the blur, or if that cannot
        be told.
    """
    grey = luminance(denoised)
    psf = estimate_psf(grey, exemplar=luminance(sharp), progress=progress)
    progress.stage("checking the PSF")
    if max(psf.shape) == 1 or not holds_a_tile(grey, psf) or share_explained_no_better(grey, psf) > _NO_BETTER:
        return None
    with_psf = replace(observation, psf=psf[None, None], psf_estimated=True)
    assert WIENER_STACK.prepare is not None
    settings = WIENER_STACK.configure({"precision": precision})
    with_psf, settings = WIENER_STACK.prepare(with_psf, settings, progress)
    return with_psf, FinalStep(settings)
