"""Losses for training. Each is a mean over pixels, so it does not depend on the size of the picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.metrics.fidelity import SSIM_K1, SSIM_K2, SSIM_SIGMA, SSIM_WINDOW


def ssim_loss(picture: Tensor, target: Tensor) -> Tensor:
    """Compute `1 - SSIM` of each picture (Wang et al. 2004, Eq. 13); differentiable.

    It differs from `unblur.metrics.ssim` at the border. As in published code that trains with SSIM, the pictures are
    padded with zeros, so that pixels near the border have the same weight as the others.

    Args:
        picture: `(B, C, H, W)` in [0, 1].
        target: same shape.

    Returns:
        `(B,)`, from 0 for identical pictures to 2.
    """
    c1, c2 = SSIM_K1**2, SSIM_K2**2
    products = torch.stack((picture, target, picture * picture, target * target, picture * target))  # (5, B, C, H, W)
    mean_p, mean_t, mean_pp, mean_tt, mean_pt = _window_mean(products)
    var_p, var_t = mean_pp - mean_p.square(), mean_tt - mean_t.square()
    covariance = mean_pt - mean_p * mean_t
    luminance = (2 * mean_p * mean_t + c1) / (mean_p.square() + mean_t.square() + c1)
    structure = (2 * covariance + c2) / (var_p + var_t + c2)
    return 1 - (luminance * structure).mean((-3, -2, -1))


def _window_mean(pictures: Tensor) -> Tensor:
    """Compute the Gaussian-weighted mean over 11 x 11 pixels around each pixel, with zeros outside: same shape."""
    reach = SSIM_WINDOW // 2
    offsets = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    line = torch.exp(-offsets.square() / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    flat = pictures.flatten(0, -3)[:, None]  # (n, 1, H, W)
    flat = F.conv2d(flat, line.view(1, 1, -1, 1), padding=(reach, 0))
    flat = F.conv2d(flat, line.view(1, 1, 1, -1), padding=(0, reach))
    return flat.view(pictures.shape)


def total_variation(picture: Tensor) -> Tensor:
    """Compute the isotropic total variation per pixel, the mean length of the gradient: `(B, C, H, W)` -> `(B,)`."""
    dx = F.pad(picture.diff(dim=-1), (0, 1))  # (B, C, H, W)
    dy = F.pad(picture.diff(dim=-2), (0, 0, 0, 1))
    return (dx.square() + dy.square() + 1e-12).sqrt().mean((-3, -2, -1))


def log_error(picture: Tensor, target: Tensor, floor: float = 3e-5) -> Tensor:
    """Logarithm of each picture's mean squared error: minus its PSNR, in units of 4.3 dB.

    Easy and hard pictures count alike in its mean, as they do in that of PSNR.

    Args:
        picture: `(B, C, H, W)`.
        target: same shape.
        floor: mean squared error that is added, so that pictures that are nearly right count little; 3e-5 is 45 dB.

    Returns:
        `(B,)`.
    """
    return ((picture - target).square().mean((-3, -2, -1)) + floor).log()
