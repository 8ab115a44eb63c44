"""Non-local means denoising: each pixel becomes a weighted mean of pixels with similar surroundings (patches).

Buades, Coll & Morel, "A non-local algorithm for image denoising" (CVPR 2005), with the weights of their "Non-local
means denoising" (Image Processing On Line 1, 2011). For two pixels p and q with the patches P around them,

    d2(p, q) = mean over patch and channels of (u(p + x) - u(q + x))^2               (IPOL 2011, section 2)
    w(p, q)  = exp(-max(d2(p, q) - 2 sigma^2, 0) / (k sigma)^2)
    v(p)     = sum over q of w(p, q) u(q)  /  sum over q of w(p, q),                  q within the search window

It is computed exactly, for one shift q - p after the other, as in Darbon et al., "Fast nonlocal filtering applied to
electron cryomicroscopy" (ISBI 2008): all patch distances for one shift are a box filter of one squared difference.
Since w(p, q) = w(q, p), half of the shifts are enough. Unlike in the papers, k is the same for all noise levels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from unblur.types import Progress

K = 0.8
"""k, the width of the weights in units of sigma: best of 0.4 to 1.0 for sigma 0.02, 0.06, 0.12 (benchmarks/nlm.py)."""

PATCH, SEARCH = 3, 15
"""Sides in pixels of the patches and of the search window that suit most photos."""

BAND = 2**17
"""Number of pixels restored at once.

The temporary arrays, about 10 times as large, then fit in the processor's cache.
"""


def non_local_means(
    noisy: Tensor, sigmas: Tensor, progress: Progress, *, patch: int = PATCH, search: int = SEARCH
) -> Tensor:
    """Denoise pictures, with the same weights for all channels.

    Args:
        noisy: `(B, C, H, W)`.
        sigmas: the standard deviation of the noise of each picture, any shape of B values; higher is smoother.
        progress: advanced once per band of rows; its stage is started here.
        patch: side of the patches in pixels, odd.
        search: side of the search window in pixels, odd; higher is slower.

    Returns:
        `(B, C, H, W)`.
    """
    margin = search // 2 + patch // 2
    height, width = noisy.shape[-2:]
    rows = max(BAND // width, 4 * margin)
    progress.stage("denoising", len(noisy) * -(-height // rows))
    mode = "reflect" if margin < min(height, width) else "replicate"
    padded = functional.pad(noisy, (margin,) * 4, mode=mode)
    denoised = torch.empty_like(noisy)
    for picture, wider, sigma in zip(denoised, padded, map(float, sigmas.flatten()), strict=True):
        for top in range(0, height, rows):
            band = wider[:, top : top + rows + 2 * margin]
            picture[:, top : top + rows] = _inside_denoised(band, sigma, patch // 2, search // 2)
            progress.advance()
    return denoised


def _inside_denoised(picture: Tensor, sigma: float, patch: int, search: int) -> Tensor:
    """Apply non-local means to the inside of a picture.

    Args:
        picture: `(C, H, W)`.
        sigma: standard deviation of its noise.
        patch: half the side of a patch in pixels, without the middle pixel.
        search: half the side of the search window in pixels, without the middle pixel.

    Returns:
        `(C, H - 2 margin, W - 2 margin)` with `margin = patch + search`.
    """
    height, width = picture.shape[-2:]
    values = picture[:, patch : height - patch, patch : width - patch]  # pixels whose whole patch is inside the picture
    values = torch.cat([values, torch.ones_like(values[:1])])  # the last channel, of ones, sums the weights
    sums = values.clone()  # the weight of the pixel itself is 1
    bandwidth = max((K * sigma) ** 2, 1e-12)  # at least (1e-6)^2, to avoid division by 0 without noise
    for dy, dx in _half_of_the_shifts(search):
        here, there = _overlap(picture, dy, dx)
        distance = _box_mean((here - there).square_().mean(0), 2 * patch + 1)
        # At most 60: a weight of e^-60 has no effect, and much smaller ones would be denormal numbers, which are slow.
        weight = distance.sub_(2 * sigma**2).clamp_(0, 60 * bandwidth).mul_(-1 / bandwidth).exp_()
        values_here, values_there = _overlap(values, dy, dx)
        sums_here, sums_there = _overlap(sums, dy, dx)
        sums_here.addcmul_(weight, values_there)
        sums_there.addcmul_(weight, values_here)
    inside = sums[:, search : height - 2 * patch - search, search : width - 2 * patch - search]
    return inside[:-1] / inside[-1]


def _half_of_the_shifts(search: int) -> Iterator[tuple[int, int]]:
    """The shifts (rows, columns) in the search window, without (0, 0); of opposite shifts only one."""
    for dy in range(search + 1):
        for dx in range(-search if dy else 1, search + 1):
            yield dy, dx


def _overlap(picture: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Crop `(C, H, W)` to the pixels p for which q = p + (dy, dx) is also inside, and to these q; dy >= 0."""
    height, width = picture.shape[-2:]
    here = picture[:, : height - dy, max(0, -dx) : width - max(0, dx)]
    there = picture[:, dy:, max(0, dx) : width - max(0, -dx)]
    return here, there


def _box_mean(plane: Tensor, side: int) -> Tensor:
    """Compute the mean of each `side` x `side` square in a plane `(H, W)`: `(H - side + 1, W - side + 1)`."""
    for axis in (0, 1):
        length = plane.shape[axis] - side + 1
        total = plane.narrow(axis, 0, length).clone()
        for shift in range(1, side):
            total += plane.narrow(axis, shift, length)
        plane = total
    return plane.mul_(1 / side**2)
