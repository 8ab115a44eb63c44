"""Fidelity of a restored picture without any shift: SSD, PSNR, SSIM."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.metrics.checks import picture_pair, positive_range

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_K1 = 0.01
SSIM_K2 = 0.03


def ssd(restored: Tensor, sharp: Tensor) -> Tensor:
    """Sum of squared differences over all channels and pixels of each picture.

    Args:
        restored: `(B, C, H, W)`, floating point.
        sharp: the sharp picture, same shape and range.

    Returns:
        `(B,)` float64, at least 0, in squared units of the pictures; 0 for identical pictures.

    Raises:
        ValueError: when the shapes differ or a value is not finite.
    """
    restored, sharp = picture_pair(restored, sharp)
    return (restored - sharp).square().sum(dim=(1, 2, 3))  # (B,)


def psnr(restored: Tensor, sharp: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of each picture, `10 log10(data_range^2 / MSE)`.

    The MSE is over all channels and pixels of one picture. For several pictures, average the PSNRs, not the
    MSEs: papers report the mean of PSNRs.

    Args:
        restored: `(B, C, H, W)`, floating point.
        sharp: the sharp picture, same shape and range.
        data_range: largest minus smallest possible pixel value; 1.0 for pictures in [0, 1].

    Returns:
        `(B,)` float64 in decibels, higher is better; `inf` where the pictures are identical.

    Raises:
        ValueError: when the shapes differ, a value is not finite, or `data_range` is not above 0.
    """
    peak = positive_range(data_range)
    restored, sharp = picture_pair(restored, sharp)
    mse = (restored - sharp).square().mean(dim=(1, 2, 3))  # (B,)
    return 10 * torch.log10(peak**2 / mse)  # (B,)


def ssim(restored: Tensor, sharp: Tensor, *, data_range: float = 1.0) -> Tensor:
    """Structural similarity of each picture: mean over windows, then over channels.

    Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural
    similarity", eq. 13: an 11x11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, window-weighted
    (biased) variances, and only windows that lie wholly inside the picture. No downsampling.

    Args:
        restored: `(B, C, H, W)` with sides of at least 11, floating point.
        sharp: the sharp picture, same shape and range.
        data_range: largest minus smallest possible pixel value; 1.0 for pictures in [0, 1].

    Returns:
        `(B,)` float64 in [-1, 1], higher is better; 1 for identical pictures.

    Raises:
        ValueError: when the shapes differ, a side is under 11, a value is not finite, or `data_range`
            is not above 0.
    """
    peak = positive_range(data_range)
    restored, sharp = picture_pair(restored, sharp)
    if min(restored.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"SSIM needs sides of at least {SSIM_WINDOW} px, got {restored.shape[-2]}x{restored.shape[-1]}."
        )
    c1, c2 = (SSIM_K1 * peak) ** 2, (SSIM_K2 * peak) ** 2
    mean_r, mean_s = _window_mean(restored), _window_mean(sharp)  # (B, C, H-10, W-10)
    var_r = _window_mean(restored.square()) - mean_r.square()  # (B, C, H-10, W-10)
    var_s = _window_mean(sharp.square()) - mean_s.square()  # (B, C, H-10, W-10)
    covariance = _window_mean(restored * sharp) - mean_r * mean_s  # (B, C, H-10, W-10)
    luminance = (2 * mean_r * mean_s + c1) / (mean_r.square() + mean_s.square() + c1)
    structure = (2 * covariance + c2) / (var_r + var_s + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))  # (B,)


def _window_mean(picture: Tensor) -> Tensor:
    """Gaussian-weighted mean of every 11x11 window inside `picture`."""
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    weights = (weights / weights.sum()).tolist()
    return _slide(_slide(picture, weights, dim=-2), weights, dim=-1)


def _slide(picture: Tensor, weights: list[float], dim: int) -> Tensor:
    """Weighted sum of every run of `len(weights)` samples along `dim`."""
    # A sum of shifted slices: a float64 `conv2d` would unfold eleven copies of a large picture.
    runs = picture.shape[dim] - len(weights) + 1
    total = torch.zeros_like(picture.narrow(dim, 0, runs))
    for start, weight in enumerate(weights):
        total.add_(picture.narrow(dim, start, runs), alpha=weight)
    return total
