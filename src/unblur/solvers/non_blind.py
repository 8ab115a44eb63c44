"""Non-blind deconvolution of an observation: creates the canvas, chooses the prior's weight and runs a solver.

It is used by all methods that deconvolve with a known PSF. The solvers are in `deconvolution`.
"""

from __future__ import annotations

from torch import Tensor

from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.solvers.data_term import noise_sigma, prior_weight, unclipped
from unblur.types import Observation, Progress

# Weights of the priors, in units of sigma^1.5 (see `prior_weight`), found by benchmarks/tune_nonblind.py.
_HYPER_LAPLACIAN_WEIGHT = 0.5
_SPARSE_WEIGHT = 0.35
_TOTAL_VARIATION_WEIGHT = 0.7


def hyper_laplacian(
    observation: Observation,
    progress: Progress,
    *,
    strength: float = 1.0,
    exponent: float = 0.8,
    steps: int = 3,
    mask_clipped: bool = True,
) -> Tensor:
    """Run `deconvolution.hyper_laplacian` on an observation: `(B, C, H, W)`. `strength` multiplies the weight."""
    canvas = _canvas(observation, mask_clipped)
    weight = strength * hyper_laplacian_weight(noise_sigma(observation))
    progress.stage("deconvolving", len(deconvolution.BETAS))
    return canvas.crop(deconvolution.hyper_laplacian(canvas, weight, exponent, steps=steps, progress=progress))


def hyper_laplacian_weight(sigma: Tensor) -> Tensor:
    """The default weight of the hyper-Laplacian prior for noise levels `sigma` `(B, 1, 1, 1)`: same shape."""
    return prior_weight(sigma, _HYPER_LAPLACIAN_WEIGHT)


def total_variation(
    observation: Observation,
    progress: Progress,
    *,
    strength: float = 1.0,
    iterations: int = 120,
    mask_clipped: bool = True,
) -> Tensor:
    """Run `deconvolution.total_variation` on an observation: `(B, C, H, W)`. `strength` multiplies the weight."""
    canvas = _canvas(observation, mask_clipped)
    weight = strength * total_variation_weight(noise_sigma(observation))
    progress.stage("deconvolving", iterations)
    return canvas.crop(deconvolution.total_variation(canvas, weight, iterations=iterations, progress=progress))


def total_variation_weight(sigma: Tensor) -> Tensor:
    """The default weight of total variation for noise levels `sigma` `(B, 1, 1, 1)`: same shape."""
    return prior_weight(sigma, _TOTAL_VARIATION_WEIGHT)


def sparse(
    observation: Observation,
    progress: Progress,
    *,
    strength: float = 1.0,
    exponent: float = 0.8,
    curvature: float = 0.25,
    reweightings: int = 2,
    steps: int = 40,
    mask_clipped: bool = True,
) -> Tensor:
    """Run `deconvolution.sparse` on an observation: `(B, C, H, W)`. `strength` multiplies the weight."""
    canvas = _canvas(observation, mask_clipped)
    weight = prior_weight(noise_sigma(observation), strength * _SPARSE_WEIGHT)
    progress.stage("deconvolving", steps * (reweightings + 1))
    image = deconvolution.sparse(
        canvas, weight, exponent, curvature, reweightings=reweightings, steps=steps, progress=progress
    )
    return canvas.crop(image)


def _canvas(observation: Observation, mask_clipped: bool) -> Canvas:
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    return Canvas.around(blurry, psf, unclipped(blurry, mask_clipped))
