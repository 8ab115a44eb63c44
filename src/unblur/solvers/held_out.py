"""Refine a PSF by how well it predicts pixels that were kept from the deconvolution.

Hide one pixel in five of the blurry picture, deconvolve the rest with a PSF (`Canvas` takes a mask), blur the result
again, and look at the hidden pixels: with the right PSF they come out right to the noise. That error needs no
sharp picture, and unlike the reblurring error of all pixels it is not least for no blur at all. It is a
function of the PSF that can be differentiated, so the PSF can be improved by gradient descent: self-supervised
learning on one picture, as in SelfDeblur, with a deconvolution in place of the network that generates the picture.

What it cannot see is the PSF's coarse shape, since the deconvolved picture makes up for that at every hidden pixel
alike. So the coarse part is taken from a first estimate (whose prior on edges knows it) and only the rest refined.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.solvers.canvas import Canvas
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.types import Progress

HIDDEN = 0.2  # share of pixels kept from the deconvolution
_EXPONENT = 0.8  # of the hyper-Laplacian
_STEPS = 4  # conjugate-gradient steps per beta
_WEIGHTS = (1e-6, 3e-3)  # of the prior: the range that is searched
FIRST_WEIGHT = 3e-5
_RENEW = 10  # steps between two searches for the prior's weight


def refine_psf(
    blurry: Tensor,
    start: Tensor,
    generate: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    learning_rate: float,
    iterations: int,
    coarse: float,
    generator: torch.Generator,
    until: float | None,
    progress: Progress,
) -> Tensor:
    """The PSF that predicts hidden pixels best, by Adam with a cosine schedule.

    Args:
        blurry: `(1, C, H, W)`.
        start: a first estimate, `(h, w)`, odd sides; its coarse shape is kept.
        generate: gives the PSF for the parameters as they are, `(1, 1, h, w)`, non-negative, sums to 1.
        parameters: what is learned.
        learning_rate: of Adam, at first.
        iterations: steps of Adam, each with another fifth of the pixels hidden.
        coarse: `sigma` of `with_coarse_shape`: more refines more, 0 refines all.
        generator: chooses the pixels.
        until: `time.monotonic()` at which to stop before the last iteration; None: never.
        progress: advanced once per step with the error as `loss`.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, learning_rate / 20)
    weight = FIRST_WEIGHT
    for iteration in range(iterations):
        psf = with_coarse_shape(generate(), start, coarse)
        if iteration % _RENEW == 0:
            weight = best_weight(blurry, psf.detach(), weight, hide(blurry, generator))
        error = held_out_error(blurry, psf, weight, hide(blurry, generator))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        progress.advance(loss=float(error.detach()))
        if until is not None and time.monotonic() > until:
            progress.advance(iterations - iteration - 1)
            break
    return with_coarse_shape(generate(), start, coarse).detach()[0, 0]


def hide(blurry: Tensor, generator: torch.Generator) -> Tensor:
    """True for the pixels to be kept from the deconvolution, False for the others: `blurry`'s shape."""
    return (torch.rand(blurry.shape, generator=generator) < HIDDEN).to(blurry.device)


def held_out_error(blurry: Tensor, psf: Tensor, weight: float, hidden: Tensor) -> Tensor:
    """Mean squared error of predicting the hidden pixels; differentiable in the PSF.

    Args:
        blurry: `(1, C, H, W)`.
        psf: `(1, 1, h, w)`.
        weight: of the hyper-Laplacian prior.
        hidden: True for the pixels kept from the deconvolution, `(1, C, H, W)`. Those within half a PSF of the border
            do not count: the picture cannot know all they are made of.
    """
    canvas = Canvas.around(blurry, psf, ~hidden)
    weights = blurry.new_full((1, 1, 1, 1), weight)
    sharp = hyper_laplacian(canvas, weights, _EXPONENT, steps=_STEPS, progress=Progress())  # (1, C, H', W')
    reblurred = canvas.crop(canvas.blur(sharp))  # (1, C, H, W)
    reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
    inside = (..., slice(reach_y, blurry.shape[-2] - reach_y), slice(reach_x, blurry.shape[-1] - reach_x))
    return (reblurred - blurry)[inside][hidden[inside]].square().mean()


def best_weight(blurry: Tensor, psf: Tensor, first: float, hidden: Tensor) -> float:
    """The prior's weight that predicts the hidden pixels best: doubled or halved while that helps, then a parabola.

    It does what a noise estimate would do, and counts the PSF's own error as noise too.
    """
    errors: dict[float, float] = {}

    def error(weight: float) -> float:
        if weight not in errors:
            with torch.no_grad():
                errors[weight] = float(held_out_error(blurry, psf, weight, hidden))
        return errors[weight]

    weight, (least, most) = first, _WEIGHTS
    while True:
        if error(weight / 2) < error(weight) and weight / 2 >= least:
            weight /= 2
        elif error(weight * 2) < error(weight) and weight * 2 <= most:
            weight *= 2
        else:
            break
    below, here, above = error(weight / 2), error(weight), error(weight * 2)
    bend = below - 2 * here + above
    offset = (below - above) / (2 * bend) if bend > 0 else 0.0
    return min(max(weight * 2 ** min(max(offset, -1.0), 1.0), least), most)


def with_coarse_shape(psf: Tensor, coarse: Tensor, sigma: float) -> Tensor:
    """`psf` with what a Gaussian leaves of it exchanged for what it leaves of `coarse`.

    Args:
        psf: `(1, 1, h, w)`.
        coarse: `(h, w)`.
        sigma: of the Gaussian, in pixels; a larger one leaves less to be exchanged, and 0 stands for the largest.

    Returns:
        `(1, 1, h, w)`, non-negative, sums to 1.
    """
    if sigma == 0:
        return psf
    blur = gaussian_psf(sigma, 2 * math.ceil(3 * sigma) + 1).to(psf)
    psf = (psf + convolve(coarse - psf, blur, "zero")).clamp_min(0)
    return psf / psf.sum()
