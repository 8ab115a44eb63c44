"""Similarity of two PSFs, independent of their position."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.metrics.checks import in_double


def kernel_similarity(estimated: Tensor, true: Tensor) -> Tensor:
    """The largest normalised cross-correlation of two PSFs over all whole-pixel shifts.

    Hu & Yang 2012, "Good regions to deblur", eq. 5: `max_s sum_t k(t) k'(t + s) / (|k| |k'|)` with
    Frobenius norms. A PSF is taken as zero outside its array, so the two may differ in size. The result
    does not depend on a shift or a scale factor; it does depend on a flip of an asymmetric PSF.

    Args:
        estimated: `(h, w)` or `(B, 1, h, w)`, non-negative, floating point.
        true: `(h', w')` or `(B, 1, h', w')`, with the same B.

    Returns:
        `(B,)` float64 in [0, 1] (B = 1 for an `(h, w)` PSF); 1 for PSFs equal up to shift and scale.

    Raises:
        ValueError: when a shape is wrong, the batches differ, a value is negative or not finite, or a PSF
            is all zero.
    """
    estimated, true = _psf_batch("estimated", estimated), _psf_batch("true", true)  # (B, h, w)
    if len(estimated) != len(true):
        raise ValueError(f"there are {len(estimated)} estimated PSFs and {len(true)} true ones.")
    size = [a + b - 1 for a, b in zip(estimated.shape[1:], true.shape[1:], strict=True)]  # no wrap-around
    spectrum = torch.fft.rfft2(estimated, s=size) * torch.fft.rfft2(true, s=size).conj()  # (B, H, W // 2 + 1)
    correlation = torch.fft.irfft2(spectrum, s=size)  # (B, H, W)
    # Rounding in the FFT may give 1 + 1e-16 for equal PSFs.
    return correlation.amax(dim=(1, 2)).clamp(0, 1)  # (B,)


def _psf_batch(name: str, psf: Tensor) -> Tensor:
    """`psf` as `(B, h, w)` float64 of unit Frobenius norm."""
    psf = in_double(f"the {name} PSF", psf)
    if psf.ndim == 2:
        psf = psf[None, None]
    if psf.ndim != 4 or psf.shape[1] != 1 or psf.numel() == 0:
        raise ValueError(f"the {name} PSF must be (h, w) or (B, 1, h, w), got {tuple(psf.shape)}.")
    if (psf < 0).any():
        raise ValueError(f"the {name} PSF holds negative values. Clip it at 0 first.")
    norm = torch.linalg.vector_norm(psf, dim=(1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    if (norm == 0).any():
        raise ValueError(f"the {name} PSF is all zero.")
    return (psf / norm)[:, 0]  # (B, h, w)
