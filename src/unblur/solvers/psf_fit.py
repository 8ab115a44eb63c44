"""The PSF that explains a blurry picture, given a guess of the sharp one: the PSF half of blind deconvolution.

`fit_psf` estimates it from any start, `correct_psf` corrects one that is nearly right.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from unblur.imaging.convolution import convolve, fast_shape, psf_to_otf
from unblur.imaging.psf import centre_psf, crop_psf, gaussian_psf
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.conjugate_gradients import conjugate_gradients

PSF_STEPS = 50  # projected-gradient steps per fit; three times as many change nothing


def fit_psf(sharp_gradient: Tensor, blurry_gradient: Tensor, start: Tensor, smoothness: float) -> Tensor:
    """`argmin_{k >= 0}  |sharp_gradient * k - blurry_gradient|^2 + smoothness |sharp_gradient|^2 |k|^2`, summing to 1.

    The fit is made in the gradient domain (Cho & Lee 2009, Eq. 12). Its normal equations need only the h x w
    lags of two correlations, so after two FFTs of the picture every step of the accelerated projected
    gradient method (Beck & Teboulle 2009) works on arrays of the PSF's size.

    Args:
        sharp_gradient: `(2, H, W)`, zero where it is unreliable; taken as periodic.
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


# Chosen by hand.
_ANYWHERE = 0.02  # share of the error that may lie anywhere, and not where the light is
_NEARBY = 1.0  # pixels by which the place of the light is uncertain
_INSIDE = 0.98  # share of a blurry pixel's light that must come from within the photo
_CORRECTION_STEPS = 10  # of conjugate gradients; twice as many change nothing


def correct_psf(
    canvas: Canvas,
    sharp: Tensor,
    psf: Tensor,
    *,
    noise: Tensor,
    psf_error: Tensor,
    finest: float,
    steps: int = _CORRECTION_STEPS,
) -> Tensor:
    """The most probable PSF, `k = psf + G (s u)`, given how wrong `psf` may be; `u` minimises

        |m (D y - D sharp * k)|^2 / noise^2  +  |u|^2.

    `D` are derivatives (as in `fit_psf`) and `m` is 1 where a blurry pixel was observed whole. The error that is
    expected is independent from pixel to pixel with standard deviations `s`, more where there is light, and then
    blurred with the Gaussian `G`. So that all steps work on arrays of the PSF's size, `m` counts by its mean, and not
    pixel by pixel, in the quadratic term.

    Args:
        canvas: blurry pictures `y`, `(B, 1, H', W')`.
        sharp: what is thought of the sharp ones, same shape.
        psf: a guess, `(B, 1, h, w)`, odd sides.
        noise: standard deviation of what `sharp` and the true PSF leave unexplained of a derivative, `(B, 1, 1, 1)`.
        psf_error: length of the error (root of its sum of squares) that is expected before `G`, `(B, 1, 1, 1)`.
        finest: standard deviation of `G` in pixels; more forbids finer corrections.
        steps: of conjugate gradients.

    Returns:
        `(B, 1, h, w)`, non-negative, each sums to 1.
    """
    h, w = psf.shape[-2:]
    edges = torch.fft.rfft2(gradient(sharp))  # (2, B, 1, H', W'//2 + 1)
    whole = _observed_whole(canvas)  # (2, B, 1, H', W')
    explained = torch.fft.irfft2(edges * psf_to_otf(psf, canvas.shape), s=canvas.shape)
    unexplained = whole * (gradient(canvas.blurry) - explained)  # (2, B, 1, H', W')
    cross = torch.fft.irfft2((edges.conj() * torch.fft.rfft2(unexplained)).sum(0), s=canvas.shape)
    power = edges.abs().square().sum(0) * whole.mean((0, -2, -1), keepdim=True)[0]
    auto = torch.fft.irfft2(power.to(edges.dtype), s=canvas.shape)  # (B, 1, H', W'), lag (0, 0) first
    small = fast_shape(3 * h - 2, 3 * w - 2)
    toeplitz = torch.fft.rfft2(auto.roll((h - 1, w - 1), (-2, -1))[..., : 2 * h - 1, : 2 * w - 1], s=small)

    light = convolve(psf, gaussian_psf(_NEARBY).to(psf), "zero").clamp_min(0)
    light = light / light.sum((-2, -1), keepdim=True)
    expected = psf_error * (_ANYWHERE / (h * w) + (1 - _ANYWHERE) * light).sqrt()  # s, (B, 1, h, w)
    kernel = gaussian_psf(finest).to(psf)

    def error_of(u: Tensor) -> Tensor:  # G s
        return convolve(expected * u, kernel, "zero")

    def adjoint(lags: Tensor) -> Tensor:  # s G
        return expected * convolve(lags, kernel, "zero") / noise.square()

    def normal(u: Tensor) -> Tensor:
        product = torch.fft.irfft2(toeplitz * torch.fft.rfft2(error_of(u), s=small), s=small)
        return adjoint(product[..., h - 1 : 2 * h - 1, w - 1 : 2 * w - 1]) + u

    right = adjoint(cross.roll((h // 2, w // 2), (-2, -1))[..., :h, :w])
    solved = conjugate_gradients(normal, right, torch.zeros_like(right), preconditioner=1.0, inner=_inner, steps=steps)
    corrected = (psf + error_of(solved)).clamp_min(0)
    return corrected / corrected.sum((-2, -1), keepdim=True)


def _observed_whole(canvas: Canvas) -> Tensor:
    """1 where both pixels of a derivative were observed and got all their light from within: `(2, B, 1, H', W')`."""
    photo = torch.zeros_like(canvas.blurry)
    canvas.crop(photo).fill_(1)
    whole = canvas.mask * (canvas.blur(photo) > _INSIDE)
    return torch.stack((whole * whole.roll(-1, -1), whole * whole.roll(-1, -2)))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each PSF of a batch: `(B, 1, 1, 1)`."""
    return (a * b).sum((-3, -2, -1), keepdim=True)


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
