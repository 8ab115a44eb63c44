"""No harm: is this photo blurred at all, and is what was found about its blur to be believed?

Every threshold was chosen on validation photos (sharp, sharp and noisy, shaken by 9..31 px), between what restoring
helped and what it harmed. `docs/noharm.md` explains the checks.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.solvers.blind import (
    DEFAULT_SEARCH,
    implausibility,
    inner_gradient,
    normalised_sparsity,
    regional_psfs,
    size_around,
)
from unblur.solvers.data_term import SIGMA_FLOOR, unclipped
from unblur.types import Progress

_SHARP = 1.0  # finest detail relative to coarser detail; sharp photos have 1..2.7, shaken ones 0..0.9
_POINT = 0.8  # share of a PSF's light within a pixel of its centre that makes it a point
_SPARSER = 0.85  # a right PSF makes gradients sparser by at least this factor
_RINGING = 0.03  # root mean square by which the restored picture leaves [0, 1]
_RESIDUAL = 2.5  # reblurring misfit in noise levels
_LOCAL = 0.93  # a region's own PSF explains it better by this factor


def judge(grey: Tensor, restored: Tensor | None, psf: Tensor | None, sigma: float, progress: Progress) -> str | None:
    """Why to leave a photo as it is, or None: asked before its PSF is estimated, after, and after restoring.

    Args:
        grey: the photo's luminance, `(1, 1, H, W)`.
        restored: the luminance of what was made of it, or None as long as nothing was.
        psf: the PSF found, `(h, w)` or `(1, 1, h, w)`, or None as long as none was.
        sigma: the noise level of `grey`.
        progress: advanced while areas of the photo are compared.
    """
    if psf is None:
        return doubt_photo(grey, sigma)
    psf = psf if psf.ndim == 2 else psf[0, 0]
    if restored is None:
        return doubt_psf(grey, psf, progress)
    return doubt_restoration(grey, restored, psf, sigma)


def doubt_photo(grey: Tensor, sigma: float) -> str | None:
    """Why the photo `(1, 1, H, W)` needs no deblurring, or None when it may."""
    if sharpness(grey, sigma) >= _SHARP:
        return "The photo does not look blurred: it has detail down to single pixels."
    return None


def doubt_psf(grey: Tensor, psf: Tensor, progress: Progress) -> str | None:
    """Why the PSF `(h, w)` estimated from the whole photo should not be used, or None."""
    middle_y, middle_x = psf.shape[0] // 2, psf.shape[1] // 2
    centre = psf[max(middle_y - 1, 0) : middle_y + 2, max(middle_x - 1, 0) : middle_x + 2]
    if float(centre.sum()) >= _POINT:
        return "The photo does not look blurred: its estimated PSF is a single point."
    regions = regional_psfs(grey, replace(DEFAULT_SEARCH, size=size_around(psf)), progress)
    gains = sorted(implausibility(area, own) / implausibility(area, psf) for area, own in regions)
    if len(gains) >= 2 and gains[1] < _LOCAL:  # one region may be a fluke
        return "The blur differs from place to place (something moved, or the camera turned); one PSF cannot undo it."
    return None


def doubt_restoration(grey: Tensor, restored: Tensor, psf: Tensor, sigma: float) -> str | None:
    """Why `restored` `(1, 1, H, W)` is not to be believed, or None."""
    if _excess(grey, restored) > _RINGING:
        return "No credible PSF was found: restoring with it makes ringing."
    if psf.shape[-2] > grey.shape[-2] or psf.shape[-1] > grey.shape[-1]:
        return "No credible PSF was found: it is larger than the photo."
    height, width = psf.shape[-2] // 2, psf.shape[-1] // 2
    inside = (..., slice(height, grey.shape[-2] - height), slice(width, grey.shape[-1] - width))
    misfit = (convolve(restored, psf, "valid") - grey[inside])[_trusted(grey)[inside]]
    if float(misfit.square().mean().sqrt()) > _RESIDUAL * max(sigma, SIGMA_FLOOR):
        return "No credible PSF was found: reblurring the result does not give the photo back."
    if normalised_sparsity(inner_gradient(restored)) > _SPARSER * normalised_sparsity(inner_gradient(grey)):
        return "No credible PSF was found: restoring makes the photo no clearer. It may be sharp, or blurred in parts."
    return None


def sharpness(grey: Tensor, sigma: float) -> float:
    """How much finest detail there is, relative to coarser detail, at full and at half size; the less of the two.

    A blurred photo lacks it at both sizes. Noise that the estimate missed (JPEG hides some) passes for detail
    at full size, but averaging 2 x 2 pixels takes most of it away.
    """
    return min(_finest_detail(grey, sigma), _finest_detail(F.avg_pool2d(grey, 2), sigma / 2))


def _finest_detail(grey: Tensor, sigma: float) -> float:
    """Energy of second differences over that of first ones, noise taken off, in the blurriest of four directions.

    White noise adds 2 sigma^2 to the energy of first differences and 6 sigma^2 to that of second ones.
    A motion blur leaves edges along it sharp, hence the directions.
    """
    ratios = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ahead, behind = (grey.roll((-n * dy, -n * dx), (-2, -1))[..., 1:-1, 1:-1] for n in (1, -1))
        here = grey[..., 1:-1, 1:-1]
        first = (ahead - here).square().mean() - 2 * sigma**2
        second = (ahead - 2 * here + behind).square().mean() - 6 * sigma**2
        ratios.append(float(second.clamp_min(0) / first.clamp_min(1e-9)))
    return min(ratios)


def _trusted(grey: Tensor) -> Tensor:
    """True where a pixel is not clipped: `(1, 1, H, W)`."""
    trusted = unclipped(grey, mask_clipped=True)
    return torch.ones_like(grey, dtype=torch.bool) if trusted is None else trusted


def _excess(grey: Tensor, restored: Tensor) -> float:
    """Root mean square of what lies outside [0, 1] (or the photo's own range), clipped highlights aside."""
    low, high = min(float(grey.min()), 0.0), max(float(grey.max()), 1.0)
    outside = (restored - restored.clamp(low, high))[_trusted(grey)]
    return float(outside.square().mean().sqrt())
