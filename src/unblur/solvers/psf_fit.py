"""The PSF that explains a blurry picture, given a guess of the sharp one: the PSF half of blind deconvolution."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from unblur.imaging.convolution import fast_shape
from unblur.imaging.psf import centre_psf, crop_psf

PSF_STEPS = 50  # projected-gradient steps per PSF fit; three times as many change nothing


def fit_psf(sharp_gradient: Tensor, blurry_gradient: Tensor, start: Tensor, smoothness: float) -> Tensor:
    """`argmin_{k >= 0}  |sharp_gradient * k - blurry_gradient|^2 + smoothness |sharp_gradient|^2 |k|^2`, summing to 1.

    The fit is made in the gradient domain (Cho & Lee 2009, Eq. 12). Its normal equations need only the h x w
    lags of two correlations, so after two FFTs of the picture every step of the accelerated projected
    gradient method (Beck & Teboulle 2009) works on arrays of the PSF's size.

    Args:
        sharp_gradient: `(2, H, W)`, zero where it is not to be believed; taken as periodic.
        blurry_gradient: `(2, H, W)`.
        start: a first guess, `(h, w)`, odd sides.
        smoothness: strength of the quadratic penalty relative to the gradients' energy.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    h, w = start.shape
    shape = (sharp_gradient.shape[-2], sharp_gradient.shape[-1])
    sharp = torch.fft.rfft2(sharp_gradient)  # (2, H, W//2+1)
    blurry = torch.fft.rfft2(blurry_gradient)
    auto = torch.fft.irfft2(sharp.abs().square().sum(0), s=shape)  # (H, W), lag (0, 0) first
    cross = torch.fft.irfft2((sharp.conj() * blurry).sum(0), s=shape)

    right = cross.roll((h // 2, w // 2), (0, 1))[:h, :w]
    lags = auto.roll((h - 1, w - 1), (0, 1))[: 2 * h - 1, : 2 * w - 1]
    small = fast_shape(3 * h, 3 * w)
    toeplitz = torch.fft.rfft2(lags, s=small)
    ridge = smoothness * auto[0, 0]

    def normal(k: Tensor) -> Tensor:
        product = torch.fft.irfft2(toeplitz * torch.fft.rfft2(k, s=small), s=small)
        return product[h - 1 : 2 * h - 1, w - 1 : 2 * w - 1] + ridge * k

    step = 1 / toeplitz.abs().max().add(ridge)  # the operator's norm is at most its symbol's maximum
    k, ahead, momentum = start, start, 1.0
    for _ in range(PSF_STEPS):
        following = (ahead - step * (normal(ahead) - right)).clamp_min(0)
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - k)
        k, momentum = following, next_momentum
    return k / k.sum() if k.sum() > 0 else start


def salient(gradient: Tensor, pixels: int) -> float:
    """A gradient magnitude such that at least `pixels` pixels exceed it in each of four directions.

    Cho & Lee 2009, Section 4: a PSF is only found along directions that have edges across them, so each
    direction gets its share however weak it is.

    Args:
        gradient: `(2, H, W)`.
        pixels: how many pixels each direction keeps.
    """
    dx, dy = gradient
    magnitude = gradient.square().sum(0).sqrt()  # (H, W)
    direction = (torch.atan2(dy, dx) % math.pi / (math.pi / 4)).long().clamp_max(3)
    thresholds = []
    for quarter in range(4):
        values = magnitude[(direction == quarter) & (magnitude > 0)]
        if len(values):
            thresholds.append(float(values.topk(min(pixels, len(values))).values[-1]))
    return min(thresholds, default=0.0)


def prune(psf: Tensor, *, least: float = 0.05, island: float = 0.1) -> Tensor:
    """Take out of a PSF what is noise: values below `least` of the maximum, and connected
    islands that hold less than `island` of the light; the rest sums to 1: `(h, w)`.
    """
    k = torch.where(psf < least * psf.max(), 0.0, psf)
    k = k / k.sum()
    light = k.cpu().numpy()
    labels, count = cast(tuple[np.ndarray, int], ndimage.label(light > 0, structure=np.ones((3, 3))))
    shares = ndimage.sum(light, labels, index=np.arange(1, count + 1))
    kept = 1 + np.flatnonzero((shares >= island) | (shares == shares.max()))
    k = k * torch.from_numpy(np.isin(labels, kept)).to(k)
    return k / k.sum()


def tidy(psf: Tensor) -> Tensor:
    """A PSF centred on its centre of mass, to the pixel, and cropped to what is not zero: odd sides, `(h, w)`."""
    return crop_psf(centre_psf(psf)[0], mass=1.0)
