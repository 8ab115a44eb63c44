"""Refine a PSF by how well it predicts pixels that were kept from the deconvolution.

Hide some pixels of the blurry picture, deconvolve the rest with a PSF (`Canvas` takes a mask), blur the result
again, and compare it with the hidden pixels: with the right PSF they differ by noise only. This error needs no
sharp picture, and unlike the reblurring error of all pixels it is not least for no blur at all. It is differentiable
in the PSF, so the PSF can be improved by gradient descent: self-supervised learning on one picture, as in SelfDeblur,
with a deconvolution in place of the network that generates the picture.

The noise of what is hidden must not be that of what is seen (Batson & Royer 2019, "Noise2Self"). But a camera makes
each pixel from its neighbours (demosaicking), and JPEG smooths as well, so that neighbours share their noise: a single
hidden pixel could be guessed from the noise around it, and the PSF that helps guessing is not the one that blurred
the picture. In such a picture squares of 3 x 3 pixels are hidden, of which only the middles count (`square_to_hide`).
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
"""Share of pixels kept from the deconvolution, by the side of the squares: more in squares, where few pixels count."""
# Chosen by hand; benchmarks/tune_selfdeblur.py measures the whole.
_SHARED = 0.5  # pixels whose noise is less than this times that of 2 x 2 of them share it with their neighbours
_EXPONENT = 0.8  # of the hyper-Laplacian
_STEPS = 4  # conjugate-gradient steps per beta
_WEIGHTS = (1e-6, 3e-3)  # of the prior: the range that is searched
FIRST_WEIGHT = 3e-5
_RENEW = 10  # steps between two searches for the prior's weight


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
    """The PSF that predicts hidden pixels best, by Adam with a cosine schedule.

    Args:
        blurry: `(1, C, H, W)`.
        generate: gives the PSF for the parameters as they are, `(1, 1, h, w)`, non-negative, sums to 1.
        parameters: what is learned.
        learning_rate: of Adam, at first.
        iterations: steps of Adam, each with other pixels hidden.
        square: see `hide`.
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
    """Which pixels of a picture are kept from the deconvolution.

    Attributes:
        pixels: True for these, False for the others; the picture's shape.
        counted: True for those of them by which a prediction is judged.
    """

    pixels: Tensor
    counted: Tensor


def square_to_hide(blurry: Tensor) -> int:
    """Side in pixels of the squares to hide in a grey picture `(1, 1, H, W)`: 1 if its noise is white, 3 if neighbours
    share it.
    """
    if min(blurry.shape[-2:]) < 16:  # too small for an estimate
        return 1
    return 3 if float(estimate_noise_sigma(blurry)) < _SHARED * float(estimate_noise_under_blur(blurry)) else 1


def hide(blurry: Tensor, generator: torch.Generator, square: int) -> Hidden:
    """Hide pixels of `blurry`, `(B, C, H, W)`, in squares of side `square` that may overlap; their middles count."""
    chance = 1 - (1 - HIDDEN[square]) ** (1 / square**2)  # of a square's middle: `square^2` of them reach each pixel
    middles = (torch.rand(blurry.shape, generator=generator) < chance).to(blurry.device)
    squares = F.max_pool2d(middles.to(blurry.dtype), square, stride=1, padding=square // 2)
    return Hidden(squares > 0, middles)


def held_out_error(blurry: Tensor, psf: Tensor, weight: float, hidden: Hidden) -> Tensor:
    """Mean squared error of predicting the hidden pixels that count; differentiable in the PSF.

    Args:
        blurry: `(1, C, H, W)`.
        psf: `(1, 1, h, w)`.
        weight: of the hyper-Laplacian prior.
        hidden: pixels kept from the deconvolution. Those within half a PSF of the border do not count: the picture
            cannot know all they are made of.
    """
    canvas = Canvas.around(blurry, psf, ~hidden.pixels)
    weights = blurry.new_full((1, 1, 1, 1), weight)
    sharp = hyper_laplacian(canvas, weights, _EXPONENT, steps=_STEPS, progress=Progress())  # (1, C, H', W')
    reblurred = canvas.crop(canvas.blur(sharp))  # (1, C, H, W)
    reach_y, reach_x = psf.shape[-2] // 2, psf.shape[-1] // 2
    inside = (..., slice(reach_y, blurry.shape[-2] - reach_y), slice(reach_x, blurry.shape[-1] - reach_x))
    return (reblurred - blurry)[inside][hidden.counted[inside]].square().mean()


def best_weight(blurry: Tensor, psf: Tensor, first: float, hidden: Hidden) -> float:
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
