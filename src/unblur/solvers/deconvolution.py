"""Non-blind deconvolution with a gradient prior, for a photo with real borders and clipped pixels.

Every solver here minimises, over pictures `x` on a `Canvas`,

    1/2 |mask (k * x - y)|^2  +  weight * sum_i phi(D_i x)

where `y` is the blurry photo, `k` the PSF, `D_i x` derivatives of `x`, and `weight` is `(B, 1, 1, 1)`.
They differ in the penalty phi, and so in the algorithm. All of them solve quadratic problems, which would have a closed
form in the Fourier domain but for the mask; `solve_masked` solves them in a few conjugate-gradient steps.

Spectra are `(B, C, H', W'//2 + 1)`, pictures `(B, C, H', W')`, gradient fields have a leading axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unblur.solvers.canvas import Canvas, curvature, curvature_adjoint, gradient, gradient_adjoint
from unblur.solvers.conjugate_gradients import conjugate_gradients
from unblur.solvers.shrinkage import isotropic_soft_threshold, power_shrink
from unblur.types import Progress

# Conjugate-gradient steps with a quadratic prior, which fill in what lies beyond the border; chosen by hand.
_BORDER_STEPS = 20


BETAS = tuple((2 * math.sqrt(2)) ** step for step in range(6))
"""Strengths of the split in `hyper_laplacian`: 1 to 181, in the paper's steps and short of its limit of 256."""


def wiener(canvas: Canvas, spectrum_of_noise: Tensor, *, steps: int = _BORDER_STEPS) -> Tensor:
    """The linear minimum-mean-square-error filter, `conj(K) / (|K|^2 + N)`, fitted to the observed pixels only.

    Args:
        canvas: the photo and its PSF.
        spectrum_of_noise: N, the noise-to-signal power ratio per frequency, broadcastable to a spectrum.
        steps: conjugate-gradient steps spent on the unobserved pixels.

    Returns:
        `(B, C, H', W')`.
    """
    data = canvas.adjoint_of_data()
    return canvas.inverse(solve_masked(canvas, canvas.forward(canvas.blurry), data, spectrum_of_noise, steps))


def hyper_laplacian(
    canvas: Canvas,
    weight: Tensor,
    exponent: float,
    *,
    steps: int,
    progress: Progress,
    start: Tensor | None = None,
) -> Tensor:
    """phi = |.|^exponent, by half-quadratic splitting: Krishnan & Fergus 2009, Algorithm 1.

    Auxiliary gradients `w` are tied to `D x` with a strength beta growing from 1 to 181 (relative to
    `weight`); in turn `w` is shrunk (their Eq. 5) and `x` solved for (their Eq. 4, here with the mask,
    in `steps` conjugate-gradient steps). `start`, `(B, C, H', W')`, is an estimate to begin with; None: the
    quadratic prior's.
    """
    data = canvas.adjoint_of_data()
    spectrum = canvas.forward(canvas.blurry if start is None else start)
    if start is None:
        spectrum = solve_masked(canvas, spectrum, data, weight * canvas.gradient_power, _BORDER_STEPS)
    for beta in BETAS:
        w = power_shrink(gradient(canvas.inverse(spectrum)), 1 / beta, exponent)  # (2, B, C, H', W')
        right = data + weight * beta * canvas.forward(gradient_adjoint(w))
        spectrum = solve_masked(canvas, spectrum, right, weight * beta * canvas.gradient_power, steps)
        progress.advance()
    return canvas.inverse(spectrum)


def total_variation(canvas: Canvas, weight: Tensor, *, iterations: int, progress: Progress, steps: int = 2) -> Tensor:
    """phi = the length of the gradient (isotropic TV), by ADMM: Wang et al. 2008; Boyd et al. 2011, 6.4.

    Convex: with enough `iterations`, each with `steps` of conjugate gradients, the result is the minimiser. The
    brightness of a saturated light needs many steps.
    """
    rho = weight / _EDGE
    data = canvas.adjoint_of_data()
    spectrum = canvas.forward(canvas.blurry)
    spectrum = solve_masked(canvas, spectrum, data, rho * canvas.gradient_power, _BORDER_STEPS)
    dual = torch.zeros_like(gradient(canvas.blurry))  # (2, B, C, H', W')
    for _ in range(iterations):
        field = gradient(canvas.inverse(spectrum))
        w = isotropic_soft_threshold(field + dual, _EDGE)
        dual = dual + field - w
        right = data + rho * canvas.forward(gradient_adjoint(w - dual))
        spectrum = solve_masked(canvas, spectrum, right, rho * canvas.gradient_power, steps)
        progress.advance()
    return canvas.inverse(spectrum)


def sparse(
    canvas: Canvas,
    weight: Tensor,
    exponent: float,
    curvature_weight: float,
    *,
    reweightings: int,
    steps: int,
    progress: Progress,
) -> Tensor:
    """phi = |.|^exponent on first and second derivatives, by reweighted least squares: Levin et al. 2007.

    Each round replaces phi by the parabola that touches it at the current picture's derivatives and solves
    the weighted least-squares problem with `steps` conjugate-gradient steps. `curvature_weight` is the weight of
    the three second derivatives relative to the two first ones.
    """
    slope = exponent * _TYPICAL_GRADIENT ** (exponent - 2)
    first = torch.full_like(gradient(canvas.blurry), slope)  # (2, B, C, H', W')
    second = torch.full_like(curvature(canvas.blurry), slope * curvature_weight)  # (3, B, C, H', W')
    spectrum = canvas.forward(canvas.blurry)
    data = canvas.adjoint_of_data()
    for _ in range(reweightings + 1):

        def normal(direction: Tensor, first: Tensor = first, second: Tensor = second) -> Tensor:
            picture = canvas.inverse(direction)
            prior = gradient_adjoint(first * gradient(picture)) + curvature_adjoint(second * curvature(picture))
            return canvas.masked_normal(direction) + weight * canvas.forward(prior)

        diagonal = canvas.otf.abs().square() + weight * (
            _mean_weight(first) * canvas.gradient_power + _mean_weight(second) * canvas.gradient_power.square()
        )
        spectrum = conjugate_gradients(
            normal,
            data,
            spectrum,
            preconditioner=1 / diagonal,
            inner=canvas.inner,
            steps=steps,
            progress=progress,
        )
        picture = canvas.inverse(spectrum)
        first = _touching_parabola(gradient(picture), exponent)
        second = curvature_weight * _touching_parabola(curvature(picture), exponent)
    return canvas.inverse(spectrum)


# Chosen by hand.
_EDGE = 0.1  # gradient, in [0, 1] per pixel, that one ADMM step of `total_variation` shrinks away
_TYPICAL_GRADIENT = 0.1  # where the first, data-independent parabola of `sparse` touches
_FLAT = 0.01  # per pixel; derivatives below this get the same weight, which would otherwise be infinite at 0


def _touching_parabola(field: Tensor, exponent: float) -> Tensor:
    return exponent * field.abs().clamp_min(_FLAT).pow(exponent - 2)


def _mean_weight(weights: Tensor) -> Tensor:
    """The average weight of each picture's derivatives: `(N, B, C, H', W')` -> `(B, C, 1, 1)`."""
    return weights.mean((0, 3, 4))[..., None, None]


def solve_masked(canvas: Canvas, start: Tensor, right: Tensor, prior: Tensor, steps: int) -> Tensor:
    """Solve `(K^T mask K + prior) X = right` for a prior that is diagonal in the Fourier domain.

    Without a mask the operator is diagonal and its inverse the preconditioner below, so a single
    step is exact; with one, each step costs two FFTs.
    """
    return conjugate_gradients(
        lambda direction: torch.addcmul(canvas.masked_normal(direction), prior, direction),
        right,
        start,
        preconditioner=1 / (canvas.otf.abs().square() + prior),
        inner=canvas.inner,
        steps=steps,
    )
