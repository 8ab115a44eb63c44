"""Refine a PSF by the error with which it predicts hidden pixels of the blurry picture.

Some pixels of the blurry picture are hidden. The other pixels are deconvolved with a PSF (`Canvas` takes a mask), the
result is blurred again, and it is compared with the hidden pixels. With the right PSF they differ only by noise. This
error needs no sharp picture. Unlike the reblurring error of all pixels, it is not least for a PSF without blur. It is
differentiable in the PSF, so the PSF can be refined by gradient descent. This is self-supervised learning on one
picture, as in SelfDeblur, but with a deconvolution in place of the network that generates the picture.

The noise of the hidden pixels must be independent of the noise of the others (Batson & Royer 2019, "Noise2Self").
Demosaicking and JPEG correlate the noise of neighbouring pixels. Then a single hidden pixel can be predicted from the
noise of its neighbours, and the PSF that predicts it best is not the true one. In such a picture squares of 3 x 3
pixels are hidden, and the error is that of their middle pixels (`square_to_hide`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.solvers.canvas import Canvas
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.types import Progress

HIDDEN = {1: 0.2, 3: 0.35}
"""Share of the pixels that are hidden, by the side of the squares in pixels (docs/selfdeblur.md compares shares).

It is larger for 3 x 3, where only the middle pixels count.
"""
# Chosen by hand; benchmarks/tune_selfdeblur.py measures the gain of refining as a whole.
_SHARED = 0.5  # ratio of the two noise estimates in `square_to_hide` below which noise of neighbours is correlated
_EXPONENT = 0.8  # of the hyper-Laplacian
_STEPS = 4  # conjugate-gradient steps per beta
_WEIGHTS = (1e-6, 3e-3)  # smallest and largest weight of the prior that are tried
FIRST_WEIGHT = 3e-5
"""Weight of the prior from which the search for the best one starts; chosen by hand."""

_RENEW = 10  # iterations between two searches for the prior's weight


def refine_psf(
    blurry: Tensor,
    generate: Callable[[], Tensor],
    parameters: Iterable[Tensor],
    *,
    learning_rate: float,
    iterations: int,
    square: int,
    generator: torch.Generator,
    until: float | None,
    progress: Progress,
) -> Tensor:
    """Find the PSF that predicts hidden pixels best, by Adam with a cosine schedule.

    Args:
        blurry: `(1, C, H, W)`.
        generate: returns the PSF for the current parameters, `(1, 1, h, w)`, non-negative, sums to 1.
        parameters: the parameters to optimise.
        learning_rate: initial learning rate of Adam.
        iterations: steps of Adam; each hides other pixels.
        square: side in pixels of the hidden squares, see `hide`.
        generator: random generator that chooses the hidden pixels.
        until: time, as `time.monotonic()`, at which to stop early; None: never.
        progress: advanced once per step, with the error as `loss`.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    parameters = list(parameters)
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations, learning_rate / 20)
    weight = FIRST_WEIGHT
    for iteration in range(iterations):
        psf = generate()
        if iteration % _RENEW == 0:
            weight = best_weight(blurry, psf.detach(), weight, hide(blurry, generator, square))
        error = held_out_error(blurry, psf, weight, hide(blurry, generator, square))
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        progress.advance(loss=float(error.detach()))
        if until is not None and time.monotonic() > until:
            progress.advance(iterations - iteration - 1)
            break
    return generate().detach()[0, 0]


@dataclass(frozen=True)
class Hidden:
    """Which pixels of a picture are hidden from the deconvolution.

    Attributes:
        pixels: True for hidden pixels; same shape as the picture.
        counted: True for the hidden pixels whose prediction error counts; same shape.
    """

    pixels: Tensor
    counted: Tensor


def square_to_hide(blurry: Tensor) -> int:
    """Choose the side in pixels of the squares to hide in a grey picture `(1, 1, H, W)`.

    Returns:
        1 if the noise is white; 3 if the noise of neighbouring pixels is correlated.
    """
    if min(blurry.shape[-2:]) < 16:  # too small for an estimate
        return 1
    return 3 if float(estimate_noise_sigma(blurry)) < _SHARED * float(estimate_noise_under_blur(blurry)) else 1


def hide(blurry: Tensor, generator: torch.Generator, square: int) -> Hidden:
    """Choose the pixels of `blurry` `(B, C, H, W)` to hide: squares of side `square`, which may overlap."""
    # Probability that a pixel is the middle of a square; each pixel can be in `square^2` squares.
    chance = 1 - (1 - HIDDEN[square]) ** (1 / square**2)
    middles = (torch.rand(blurry.shape, generator=generator) < chance).to(blurry.device)
    squares = F.max_pool2d(middles.to(blurry.dtype), square, stride=1, padding=square // 2)
    return Hidden(squares > 0, middles)


def held_out_error(blurry: Tensor, psf: Tensor, weight: float, hidden: Hidden) -> Tensor:
    """Compute the mean squared error with which the hidden pixels are predicted; differentiable in the PSF.

    Args:
        blurry: `(1, C, H, W)`.
        psf: `(1, 1, h, w)`.
        weight: weight of the hyper-Laplacian prior.
        hidden: the hidden pixels. Those within half a PSF of the border do not count, since they also depend on the
            scene outside the picture.

    Returns:
        A scalar tensor, in squares of the [0, 1] scale.
    """
    canvas = Canvas.around(blurry, psf, ~hidden.pixels)
    weights = blurry.new_full((1, 1, 1, 1), weight)
    sharp = hyper_laplacian(canvas, weights, _EXPONENT, steps=_STEPS, progress=Progress())  # (1, C, H', W')
    reblurred = canvas.crop(canvas.blur(sharp))  # (1, C, H, W)
    reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
    inside = (..., slice(reach_y, blurry.shape[-2] - reach_y), slice(reach_x, blurry.shape[-1] - reach_x))
    return (reblurred - blurry)[inside][hidden.counted[inside]].square().mean()


def best_weight(blurry: Tensor, psf: Tensor, first: float, hidden: Hidden) -> float:
    """Find the prior's weight that predicts the hidden pixels best.

    The weight is doubled or halved as long as the error decreases, then the minimum of a parabola is taken.

    Args:
        blurry: `(1, C, H, W)`.
        psf: `(1, 1, h, w)`.
        first: weight to start from.
        hidden: the hidden pixels.

    Returns:
        The weight. It suits the picture's noise and the error of the PSF, which has the effect of noise.
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
