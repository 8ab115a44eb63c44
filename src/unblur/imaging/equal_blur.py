"""The PSF between two registered shots of one scene, of which one is sharper: what blurs both alike.

Edges and brightness of two shots can be compared exactly only if they are equally blurred. The PSF need not be fine for
that, so it is estimated on small copies without noise, in one step, and not by the methods that deconvolve with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.synthesis.camera import to_linear, to_srgb

GAMMA = 2.2  # of sRGB, roughly
NEIGHBOURHOOD = 1 / 16  # standard deviation of the Gaussian of the local mean, relative to the longer side

# Chosen by hand; benchmarks/registration.py measures the errors of places and tones.
_SIDE = 512  # pixels, longer side of the copies whose PSF is estimated
_SMOOTHING = 1.5  # pixels of a copy, standard deviation of the Gaussian that removes noise
_FARTHEST = 1 / 12  # reach of the PSF, relative to the longer side
_REGULARISATION = 0.05  # added to the power spectrum, relative to its mean
_ROUNDING = 1e-5  # standard deviation on the [0, 1] scale of differences that are rounding errors
_NO_LIGHT = 0.01  # sum of the values of a PSF, about 1 for pictures that are not flat
_FAINTEST = 0.1  # values of the PSF below this share of the largest are noise
_CLEARLY = 0.5  # factor by which sRGB values must reduce the disagreement to be blurred instead of linear light
_WIDE = 4.0  # pixels, standard deviation from which a Gaussian is computed on a smaller copy


def psf_between(sharper: Tensor, blurrier: Tensor, weights: Tensor) -> Tensor:
    """Estimate the PSF that leads from one picture to another: regularised least squares in the Fourier domain.

    Args:
        sharper: `(1, 1, H, W)`, smoothed.
        blurrier: same shape, registered.
        weights: same shape, 0 where the pictures are not to be compared.

    Returns:
        `(1, 1, n, n)`, with n odd; without negative and without faint values; it sums to 1. That of two flat pictures
        is a single pixel of 1.
    """
    height, width = sharper.shape[-2:]
    weights = weights.float() * _window(height, width, sharper.device)
    S, L = (torch.fft.rfft2(deviation(picture) * weights) for picture in (sharper, blurrier))
    power = S.abs().square()
    K = S.conj() * L / (power + _REGULARISATION * power.mean() + _ROUNDING**2 * height * width)
    reach = round(_FARTHEST * max(height, width))
    psf = torch.fft.fftshift(torch.fft.irfft2(K, s=(height, width)), dim=(-2, -1))
    psf = F.pad(psf, (reach, reach, reach, reach))  # a copy may be narrower than the PSF
    row, column = height // 2, width // 2  # one reach before the middle of the padded one
    psf = psf[..., row : row + 2 * reach + 1, column : column + 2 * reach + 1].clamp_min(0)
    psf = psf * (psf >= _FAINTEST * psf.max())
    if not float(psf.sum()) >= _NO_LIGHT:  # flat pictures: only rounding errors differ
        psf = torch.zeros_like(psf)
        psf[..., reach, reach] = 1
    return psf / psf.sum()


def equally_blurred_copies(sharper: Tensor, blurrier: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Small copies of two shots, the first blurred like the second.

    It is blurred in linear light, as by a camera; in sRGB values, as in many data sets, if the copies are then clearly
    more alike.

    Args:
        sharper: `(1, C, H, W)`, sRGB, [0, 1].
        blurrier: same shape, registered.
        shown: `(1, 1, H, W)`, 0 where they are not to be compared.

    Returns:
        Both copies, `(1, C, h, w)`, of at most 512 px.
    """
    height, width = sharper.shape[-2:]
    factor = min(1.0, _SIDE / max(height, width))
    size = max(8, round(factor * height)), max(8, round(factor * width))
    weights = F.interpolate(shown.float(), size, mode="area")
    linear, values = (_with_equal_blur(sharper, blurrier, weights, convert) for convert in (to_linear, _unchanged))
    if values[1] < _CLEARLY * linear[1]:
        return values[0]
    first, second = linear[0]
    return to_srgb(first), to_srgb(second)


def _with_equal_blur(
    sharper: Tensor, blurrier: Tensor, weights: Tensor, convert: Callable[[Tensor], Tensor]
) -> tuple[tuple[Tensor, Tensor], float]:
    """Converted copies of the size of `weights` with equal blur, and how much they disagree: 1 - correlation."""
    size = weights.shape[-2:]
    first, second = (F.interpolate(convert(one.float()), size, mode="area") for one in (sharper, blurrier))
    greys = [smoothed(luminance(copy), _SMOOTHING) for copy in (first, second)]
    psf = psf_between(greys[0], greys[1], weights)
    details = [(deviation(grey) * weights).flatten() for grey in (convolve(greys[0], psf), greys[1])]
    correlation = float(torch.corrcoef(torch.stack(details))[0, 1].nan_to_num(0.0))
    return (convolve(first, psf), second), 1 - correlation


def _unchanged(values: Tensor) -> Tensor:
    return values


def deviation(grey: Tensor) -> Tensor:
    """A picture `(1, 1, h, w)` minus its local mean."""
    return grey - smoothed(grey, NEIGHBOURHOOD * max(grey.shape[-2:]))


def _window(height: int, width: int, device: torch.device) -> Tensor:
    """Weights `(height, width)` that fall to 0 at the border."""
    down, across = (torch.hann_window(side, periodic=False, device=device) for side in (height, width))
    return (down[:, None] * across) ** 0.25


def smoothed(picture: Tensor, sigma: float) -> Tensor:
    """A picture `(1, C, h, w)` blurred by a Gaussian, borders repeated; a wide one on a smaller copy."""
    height, width = picture.shape[-2:]
    factor = int(sigma / _WIDE)
    if factor > 1 and min(height, width) >= 8 * factor:
        small = F.interpolate(picture, (height // factor, width // factor), mode="area")
        return F.interpolate(smoothed(small, sigma / factor), (height, width), mode="bilinear")
    reach = max(1, math.ceil(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32, device=picture.device)
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    weights = (weights / weights.sum()).expand(picture.shape[1], 1, 1, -1)
    channels = picture.shape[1]
    rows = F.conv2d(F.pad(picture, (reach, reach, 0, 0), "replicate"), weights, groups=channels)
    columns = F.pad(rows, (0, 0, reach, reach), "replicate")
    return F.conv2d(columns, weights.transpose(-2, -1), groups=channels)
