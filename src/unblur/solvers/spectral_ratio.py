"""The PSF as the ratio of two spectra: of a blurry picture without noise, and of an estimate of the sharp picture."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.solvers.l0 import periodic_extension
from unblur.solvers.psf_fit import prune


def spectral_ratio(denoised: Tensor, sharp: Tensor, size: int, regularisation: float) -> Tensor:
    """Compute `FFT^-1(FFT(B1) / FFT(I1))`, regularised (Miao & Zhu, Eq. 7).

    The ratio is `conj(I1) B1 / (|I1|^2 + regularisation * mean |I1|^2)`, since the ratio as published is dominated by
    the frequencies at which `I1` is almost 0. Both pictures are taken without their mean, and extended so that they are
    periodic. Negative values and values below 5 % of the largest are set to 0.

    Args:
        denoised: `B1`, `(1, 1, H, W)`.
        sharp: `I1`, same shape.
        size: side of the PSF in pixels, odd, at most H and W.
        regularisation: above 0; higher is smoother and closer to the correlation of both pictures.

    Returns:
        `(size, size)`, non-negative, sums to 1.
    """
    reach = size // 2
    B1, I1 = (
        periodic_extension(picture - picture.mean(), reach + 1) for picture in (denoised, sharp)
    )  # (1, 1, H', W')
    numerator, power = torch.fft.rfft2(I1).conj() * torch.fft.rfft2(B1), torch.fft.rfft2(I1).abs().square()
    ratio = numerator / (power + regularisation * power.mean()).clamp_min(1e-12)  # (1, 1, H', W'//2 + 1)
    lags = torch.fft.irfft2(ratio, s=B1.shape[-2:])[0, 0]  # (H', W'), lag (0, 0) first
    psf = lags.roll((reach, reach), (0, 1))[:size, :size].clamp_min(0)
    if float(psf.sum()) <= 0:  # a flat picture
        psf = torch.zeros_like(psf)
        psf[reach, reach] = 1
    return prune(psf)
