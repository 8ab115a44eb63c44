"""The PSF as the ratio of two spectra: of a blurry picture without noise, and of an estimate of the sharp picture."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.imaging.psf import delta_psf
from unblur.solvers.areas import is_flat
from unblur.solvers.l0 import periodic_extension
from unblur.solvers.psf_fit import prune


def spectral_ratio(denoised: Tensor, sharp: Tensor, size: int, regularisation: float) -> Tensor:
    """Compute `FFT^-1(FFT(B1) / FFT(I1))`, regularised (Miao & Zhu, Eq. 7).

    The regularised ratio is `conj(I1) B1 / (|I1|^2 + regularisation * mean |I1|^2)`; the published one is dominated by
    the frequencies at which `I1` is almost 0. Both pictures are taken without their mean, and extended so that they are
    periodic. Negative values and values below 5 % of the largest are set to 0.

    Args:
        denoised: `B1`, `(1, 1, H, W)`.
        sharp: `I1`, same shape.
        size: side of the PSF in pixels, odd, at most H and W.
        regularisation: above 0; higher is smoother and closer to the correlation of both pictures.

    Returns:
        `(size, size)`, non-negative, sums to 1. For a flat picture, a single point (no blur).
    """
    if is_flat(denoised) or is_flat(sharp):
        return delta_psf(size).to(denoised)
    reach = size // 2
    B1, I1 = (periodic_extension(picture - picture.mean(), reach + 1) for picture in (denoised, sharp))
    shape = B1.shape[-2:]  # (H', W')
    blurry_spectrum, sharp_spectrum = torch.fft.rfft2(B1), torch.fft.rfft2(I1)  # (1, 1, H', W'//2 + 1)
    mean_power = I1.square().sum()  # by Parseval's theorem
    power = (sharp_spectrum.abs().square() + regularisation * mean_power).clamp_min(1e-12)
    ratio = sharp_spectrum.conj() * blurry_spectrum / power
    lags = torch.fft.irfft2(ratio, s=shape)[0, 0]  # (H', W'), lag (0, 0) first
    psf = lags.roll((reach, reach), (0, 1))[:size, :size].clamp_min(0)
    return prune(psf) if float(psf.sum()) > 0 else delta_psf(size).to(psf)
