"""Non-blind deconvolution with a gradient prior, for photos with borders and saturated pixels.

Each solver minimises, over pictures `x` on a `Canvas`,

    1/2 |mask (k * x - y)|^2  +  weight * sum_i phi(D_i x)

where `y` is the blurry photo, `k` the PSF, `D_i x` are derivatives of `x`, and `weight` is `(B, 1, 1, 1)`. The solvers
differ in the penalty phi and in the algorithm. All of them solve a sequence of quadratic problems. Because of the mask
these have no closed form in the Fourier domain, so `solve_masked` uses a few conjugate-gradient steps.

Spectra are `(B, C, H', W'//2 + 1)`, pictures `(B, C, H', W')`, and gradient fields have one more axis in front.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unblur.solvers.canvas import Canvas, curvature, curvature_adjoint, doubled, gradient, gradient_adjoint
from unblur.solvers.conjugate_gradients import conjugate_gradients
from unblur.solvers.shrinkage import isotropic_soft_threshold, power_shrink
from unblur.types import Progress

# Conjugate-gradient steps with a quadratic prior; they restore the canvas outside the photo; chosen by hand.
_BORDER_STEPS = 20
_COARSE_STEPS, _FINE_STEPS = 8, 1  # per beta in `quick_hyper_laplacian`, at half and full size; chosen by hand


BETAS = tuple((2 * math.sqrt(2)) ** step for step in range(6))
"""Values of beta in `hyper_laplacian`: 1 to 181, with the ratio of the paper, up to its limit of 256."""


def wiener(canvas: Canvas, spectrum_of_noise: Tensor, *, steps: int = _BORDER_STEPS) -> Tensor:
    """Wiener filter, the linear minimum-mean-square-error filter `conj(K) / (|K|^2 + N)`, of the observed pixels only.

    Args:
        canvas: the photo and its PSF.
        spectrum_of_noise: N, the noise-to-signal power ratio at each frequency, broadcastable to a spectrum.
        steps: conjugate-gradient steps; needed only where pixels were not observed.

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
    """Deconvolve with phi = |.|^exponent by half-quadratic splitting: Krishnan & Fergus 2009, Algorithm 1.

    A penalty of weight beta keeps auxiliary gradients `w` close to `D x`; beta grows from 1 to 181, relative to
    `weight`. For each beta, `w` is computed by shrinkage (Eq. 5), then `x` by solving a linear system (Eq. 4, with the
    mask).

    Args:
        canvas: the photo and its PSF.
        weight: weight of the prior, `(B, 1, 1, 1)`.
        exponent: of the penalty, 0 to 1.
        steps: conjugate-gradient steps for each beta.
        progress: advanced once per beta.
        start: first estimate, `(B, C, H', W')`; None: the solution with a quadratic prior.

    Returns:
        `(B, C, H', W')`.
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


def quick_hyper_laplacian(canvas: Canvas, weight: Tensor, exponent: float, *, progress: Progress) -> Tensor:
    """As `hyper_laplacian`, but first at half size, so that fewer steps are needed at full size.

    Args:
        canvas: the photo and its PSF.
        weight: weight of the prior at full size, in units of sigma^1.5 (`data_term.prior_weight`), `(B, 1, 1, 1)`.
        exponent: of the penalty, 0 to 1.
        progress: advanced once per beta and size.

    Returns:
        `(B, C, H', W')`.
    """
    # Each step extends the restored area outside the photo by a few pixels only. At half size fewer steps are needed.
    # The noise of means of 2 x 2 pixels is half as strong.
    coarse = hyper_laplacian(canvas.halved(), weight / 2**1.5, exponent, steps=_COARSE_STEPS, progress=progress)
    return hyper_laplacian(canvas, weight, exponent, steps=_FINE_STEPS, progress=progress, start=doubled(coarse))


def total_variation(canvas: Canvas, weight: Tensor, *, iterations: int, progress: Progress, steps: int = 2) -> Tensor:
    """Deconvolve with phi = |gradient| (isotropic total variation) by ADMM: Wang et al. 2008; Boyd et al. 2011, 6.4.

    The problem is convex: with enough iterations the result is the minimiser. Saturated lights need many iterations
    until their brightness is restored.

    Args:
        canvas: the photo and its PSF.
        weight: weight of the prior, `(B, 1, 1, 1)`.
        iterations: of ADMM.
        progress: advanced once per iteration.
        steps: conjugate-gradient steps per iteration.

    Returns:
        `(B, C, H', W')`.
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
    """Deconvolve with phi = |.|^exponent on first and second derivatives, by reweighted least squares.

    Levin et al. 2007. Each round replaces phi by the parabola that touches it at the current picture's derivatives, and
    solves the resulting weighted least-squares problem by conjugate gradients.

    Args:
        canvas: the photo and its PSF.
        weight: weight of the prior, `(B, 1, 1, 1)`.
        exponent: of the penalty, 0 to 2.
        curvature_weight: weight of the three second derivatives relative to the two first ones.
        reweightings: number of rounds after the first.
        steps: conjugate-gradient steps per round.
        progress: advanced once per step.

    Returns:
        `(B, C, H', W')`.
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
_EDGE = 0.1  # gradient, per pixel on the [0, 1] scale, that one ADMM step of `total_variation` reduces to 0
_TYPICAL_GRADIENT = 0.1  # per pixel on the [0, 1] scale: where the first parabola of `sparse` touches phi
_FLAT = 0.01  # per pixel on the [0, 1] scale: smaller derivatives get the weight of this one, since it is infinite at 0


def _touching_parabola(field: Tensor, exponent: float) -> Tensor:
    """The weights of the parabolas that touch phi at the derivatives `field`: same shape."""
    return exponent * field.abs().clamp_min(_FLAT).pow(exponent - 2)


def _mean_weight(weights: Tensor) -> Tensor:
    """The mean weight of each picture's derivatives: `(N, B, C, H', W')` -> `(B, C, 1, 1)`."""
    return weights.mean((0, 3, 4))[..., None, None]


def solve_masked(canvas: Canvas, start: Tensor, right: Tensor, prior: Tensor, steps: int) -> Tensor:
    """Solve `(K^T mask K + prior) X = right` for a prior that is diagonal in the Fourier domain.

    If all pixels were observed, the operator is diagonal and one step gives the exact solution.

    Args:
        canvas: the photo and its PSF.
        start: first estimate, a spectrum.
        right: right side, a spectrum.
        prior: diagonal of the prior, broadcastable to a spectrum.
        steps: conjugate-gradient steps, of two FFTs each.

    Returns:
        The solution, a spectrum.
    """
    return conjugate_gradients(
        lambda direction: torch.addcmul(canvas.masked_normal(direction), prior, direction),
        right,
        start,
        preconditioner=1 / (canvas.otf.abs().square() + prior),
        inner=canvas.inner,
        steps=steps,
    )
