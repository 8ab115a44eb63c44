"""Metrics that compare a restored picture with the sharp one, or an estimated PSF with the true one.

Every metric takes tensors `(B, C, H, W)` and returns one float64 value per picture, `(B,)`.
"""

from unblur.metrics.alignment import Aligned, align, best_shift, psnr_aligned, ssd_aligned, ssim_aligned
from unblur.metrics.colour_fit import with_colours_of
from unblur.metrics.error_ratio import error_ratio_norm2, error_ratio_ssd
from unblur.metrics.fidelity import psnr, ssd, ssim
from unblur.metrics.kernel_similarity import kernel_similarity

__all__ = [
    "Aligned",
    "align",
    "best_shift",
    "error_ratio_norm2",
    "error_ratio_ssd",
    "kernel_similarity",
    "psnr",
    "psnr_aligned",
    "ssd",
    "ssd_aligned",
    "ssim",
    "ssim_aligned",
    "with_colours_of",
]
