"""Non-blind deconvolution with a gradient prior, for a photo with real borders and clipped pixels.

All three solvers minimise, over pictures `x` on a `Canvas`,

    1/2 |mask (k * x - y)|^2  +  weight * sum_i phi(D_i x)

and differ in the penalty phi and so in the algorithm that suits it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unblur.solvers.canvas import Canvas, gradient, gradient_adjoint
from unblur.solvers.shrinkage import isotropic_soft_threshold, power_shrink
from unblur.types import Progress


def wiener(canvas: Canvas, weight: float, *, fills: int, progress: Progress) -> Tensor:
    """phi = square / 2: the linear (Laplacian-regularised) Wiener filter, `(B, C, H', W')`.

    `fills` times the unobserved pixels of the blurry picture are replaced by what the current restoration would
    have produced there, which is an expectation-maximisation step for the masked problem.
    """
    inverse_filter = canvas.otf.conj() / (canvas.otf.abs().square() + weight * canvas.gradient_power)
    blurry = canvas.blurry
    for step in range(fills + 1):
        spectrum = inverse_filter * canvas.forward(blurry)
        progress.advance()
        if step < fills:
            blurry = _fill(canvas, spectrum)
    return canvas.inverse(spectrum)


def hyper_laplacian(
    canvas: Canvas, weight: float, exponent: float, *, inner: int, progress: Progress
) -> Tensor:
    """phi = |.|^exponent by half-quadratic splitting: Krishnan & Fergus 2009, Algorithm 1.

    Auxiliary gradients `w` are tied to `D x` with a strength beta that grows from 1 to 256 (in units
    where the data weight is 1 / `weight`); alternately `w` is shrunk (Eq. 5) and `x` is solved in the Fourier
    domain (Eq. 4). Unobserved pixels are re-filled before each Fourier solve.
    """
    image = canvas.blurry
    blurry_spectrum = canvas.otf.conj() * canvas.forward(canvas.blurry)
    for beta in beta_schedule():
        denominator = canvas.otf.abs().square() + weight * beta * canvas.gradient_power
        for _ in range(inner):
            w = power_shrink(gradient(image), 1 / beta, exponent)  # (2, B, C, H', W')
            prior = canvas.forward(gradient_adjoint(w))
            spectrum = (blurry_spectrum + weight * beta * prior) / denominator
            image = canvas.inverse(spectrum)
            blurry_spectrum = canvas.otf.conj() * canvas.forward(_fill(canvas, spectrum))
            progress.advance()
    return image


def beta_schedule(first: float = 1.0, last: float = 256.0, rate: float = 2 * math.sqrt(2)) -> list[float]:
    """first, first * rate, ... up to last."""
    steps = math.floor(math.log(last / first) / math.log(rate) + 1e-9) + 1
    return [first * rate**step for step in range(steps)]


def _fill(canvas: Canvas, spectrum: Tensor) -> Tensor:
    """The blurry picture, its unobserved pixels predicted by reblurring the restoration of `spectrum`."""
    reblurred = canvas.inverse(canvas.otf * spectrum)
    return torch.lerp(reblurred, canvas.blurry, canvas.mask)
