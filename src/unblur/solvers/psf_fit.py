"""Estimate the PSF from a blurry picture and an estimate of the sharp one.

`fit_psf` starts from any PSF; `correct_psf` corrects a PSF that is nearly right.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from unblur.imaging.convolution import convolve, fast_shape, psf_to_otf
from unblur.imaging.psf import centre_psf, crop_psf, gaussian_psf
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.conjugate_gradients import conjugate_gradients

PSF_STEPS = 50  # projected-gradient steps per fit; with three times as many the result is the same


def fit_psf(sharp_gradient: Tensor, blurry_gradient: Tensor, start: Tensor, smoothness: float) -> Tensor:
    """Fit a PSF to the gradients of a sharp and a blurry picture (Cho & Lee 2009, Eq. 12).

    It is `argmin_{k >= 0} |sharp_gradient * k - blurry_gradient|^2 + smoothness |sharp_gradient|^2 |k|^2`, divided by
    its sum, by the accelerated projected gradient method (Beck & Teboulle 2009).

    Args:
        sharp_gradient: `(2, H, W)`, periodic; 0 where it is not reliable.
        blurry_gradient: `(2, H, W)`.
        start: first estimate, `(h, w)`, odd sides.
        smoothness: strength of the quadratic penalty relative to the gradients' energy.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    equations = PsfEquations.of(sharp_gradient, blurry_gradient, (start.shape[-2], start.shape[-1]), smoothness)

    def slope(k: Tensor) -> Tensor:
        return equations.normal(k) - equations.right

    k = projected_gradient(slope, start, 1 / equations.norm)
    return k / k.sum() if k.sum() > 0 else start


@dataclass(frozen=True)
class PsfEquations:
    """The normal equations of `fit_psf`: `normal(k) = right`.

    They need only the h x w lags of two correlations. So after the FFTs of the picture, all steps work on arrays of the
    PSF's size.

    Attributes:
        toeplitz: the spectrum of the autocorrelation of the sharp picture's gradients.
        right: `(h, w)`.
        ridge: the weight of the quadratic penalty.
    """

    toeplitz: Tensor
    right: Tensor
    ridge: Tensor

    @classmethod
    def of(
        cls, sharp_gradient: Tensor, blurry_gradient: Tensor, size: tuple[int, int], smoothness: float
    ) -> PsfEquations:
        """Compute the equations of a PSF of `size`, `(h, w)`; the other arguments as for `fit_psf`."""
        h, w = size
        shape = (sharp_gradient.shape[-2], sharp_gradient.shape[-1])
        sharp = torch.fft.rfft2(sharp_gradient)  # (2, H, W//2+1)
        blurry = torch.fft.rfft2(blurry_gradient)
        auto = torch.fft.irfft2(sharp.abs().square().sum(0), s=shape)  # (H, W), lag (0, 0) first
        cross = torch.fft.irfft2((sharp.conj() * blurry).sum(0), s=shape)
        right = cross.roll((h // 2, w // 2), (0, 1))[:h, :w]
        lags = auto.roll((h - 1, w - 1), (0, 1))[: 2 * h - 1, : 2 * w - 1]
        return cls(torch.fft.rfft2(lags, s=fast_shape(3 * h, 3 * w)), right, smoothness * auto[0, 0])

    def normal(self, k: Tensor) -> Tensor:
        """The left side for a PSF: `(h, w)` -> same shape."""
        h, w = k.shape
        small = fast_shape(3 * h, 3 * w)
        product = torch.fft.irfft2(self.toeplitz * torch.fft.rfft2(k, s=small), s=small)
        return product[h - 1 : 2 * h - 1, w - 1 : 2 * w - 1] + self.ridge * k

    @property
    def norm(self) -> Tensor:
        """An upper bound of the norm of `normal`."""
        return self.toeplitz.abs().max().add(self.ridge)  # the norm is at most the maximum of its symbol


def projected_gradient(
    slope: Callable[[Tensor], Tensor], start: Tensor, step: Tensor, steps: int = PSF_STEPS
) -> Tensor:
    """Minimise a convex function of non-negative values (Beck & Teboulle 2009, FISTA).

    Args:
        slope: the gradient of the function.
        start: where to begin; any shape.
        step: at most the reciprocal of the Lipschitz constant of `slope`.
        steps: number of steps.
    """
    k, ahead, momentum = start, start, 1.0
    for _ in range(steps):
        following = (ahead - step * slope(ahead)).clamp_min(0)
        next_momentum = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - k)
        k, momentum = following, next_momentum
    return k


# Chosen by hand.
_ANYWHERE = 0.02  # share of the expected error (sum of squares) that is uniform, not where the PSF has light
_NEARBY = 1.0  # pixels: uncertainty of the position of the light, as a standard deviation
_INSIDE = 0.98  # least share of a blurry pixel's light that must come from inside the photo
_CORRECTION_STEPS = 10  # conjugate-gradient steps; with twice as many the result is the same


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
    """Compute the most probable PSF `k = psf + G (s u)`, given the expected error of `psf`, where `u` minimises

        |m (D y - D sharp * k)|^2 / noise^2  +  |u|^2.

    `D` are first derivatives, and `m` is 1 where a derivative was observed and all its light came from the photo. The
    expected error of the PSF is independent noise of standard deviation `s`, which is larger where the PSF has light,
    blurred with the Gaussian `G`.

    Args:
        canvas: blurry pictures `y`, `(B, 1, H', W')`.
        sharp: estimates of the sharp pictures, same shape.
        psf: the PSF to correct, `(B, 1, h, w)`, odd sides.
        noise: standard deviation of `D y - D sharp * k` with the true PSF, on the [0, 1] scale, `(B, 1, 1, 1)`.
        psf_error: root of the expected sum of squares of `s u`, `(B, 1, 1, 1)`.
        finest: standard deviation of `G` in pixels; higher allows only smoother corrections.
        steps: conjugate-gradient steps.

    Returns:
        `(B, 1, h, w)`, non-negative, each sums to 1.
    """
    h, w = psf.shape[-2:]
    edges = torch.fft.rfft2(gradient(sharp))  # (2, B, 1, H', W'//2 + 1)
    whole = _observed_whole(canvas)  # (2, B, 1, H', W')
    explained = torch.fft.irfft2(edges * psf_to_otf(psf, canvas.shape), s=canvas.shape)
    unexplained = whole * (gradient(canvas.blurry) - explained)  # (2, B, 1, H', W')
    cross = torch.fft.irfft2((edges.conj() * torch.fft.rfft2(unexplained)).sum(0), s=canvas.shape)
    # In the quadratic term m is replaced by its mean, so that all steps work on arrays of the PSF's size.
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
    """1 where both pixels of a derivative were observed, with light from inside the photo only: `(2, B, 1, H', W')`."""
    photo = torch.zeros_like(canvas.blurry)
    canvas.crop(photo).fill_(1)
    whole = canvas.mask * (canvas.blur(photo) > _INSIDE)
    return torch.stack((whole * whole.roll(-1, -1), whole * whole.roll(-1, -2)))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """The inner products of two batches of PSFs: `(B, 1, 1, 1)`."""
    return (a * b).sum((-3, -2, -1), keepdim=True)


def salient(gradient: Tensor, pixels: int) -> float:
    """Compute a threshold of the gradient's magnitude that keeps at least `pixels` pixels in each of four directions.

    Cho & Lee 2009, Section 4.

    Args:
        gradient: `(2, H, W)`.
        pixels: number of pixels to keep in each direction, if it has as many.

    Returns:
        The threshold, in the units of `gradient`.
    """
    # The PSF can be estimated along a direction only from edges across it, so weak edges are kept where no others are.
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
    """Remove noise from a PSF.

    Args:
        psf: `(h, w)`.
        least: smaller values, as a share of the maximum, become 0.
        island: connected components with a smaller share of the light are removed, except the largest.

    Returns:
        `(h, w)`, sums to 1.
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
    """Move a PSF's centre of mass to the middle, by whole pixels, and crop empty margins: `(h, w)`, odd sides."""
    return crop_psf(centre_psf(psf)[0], mass=1.0)
