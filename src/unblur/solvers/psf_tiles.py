"""How plausible a photo is, deconvolved with a PSF, in each tile of the photo."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.types import Progress

TILE = 64
"""Side of the tiles in pixels; they overlap by half."""

LITTLE_NOISE, SOME_NOISE = 1.5e-4, 1e-3
"""Weights of the deconvolution's prior. With the lower one, grain and JPEG blocks make any deblurring implausible."""

TOLD_APART = 0.06
"""A `turned_margin` from which a PSF is likely right (benchmarks/tune_psf_choice.py)."""

_NEARLY = 0.8  # share of the largest margin; chosen by hand (benchmarks/tune_psf_choice.py)
_EXPONENT = 0.8  # of the prior, as in `solvers.blind.implausibility`


def log_implausibility(grey: Tensor, psf: Tensor, margin: int, weight: float) -> Tensor:
    """The logarithm of `solvers.blind.implausibility` in each tile, without `margin` px of the border: `(tiles,)`.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        psf: `(h, w)`, odd sides.
        margin: pixels; at least half the PSF, so that all light of the tiles came from inside the photo.
        weight: of the prior, `LITTLE_NOISE` or `SOME_NOISE`.
    """
    sharp = deconvolved(grey, psf, weight)
    misfit = _inside(convolve(sharp, psf) - grey, margin).square() / 2
    slopes = _inside(gradient(sharp), margin).abs()  # (2, 1, 1, h, w)
    energy = _tile_means(misfit) + 2 * weight * _tile_means(slopes.pow(_EXPONENT).mean(0))
    density = _tile_means(slopes.mean(0)) / _tile_means(slopes.square().mean(0)).sqrt().clamp_min(1e-9)
    return (energy * density).clamp_min(1e-30).log()


def deconvolved(grey: Tensor, psf: Tensor, weight: float) -> Tensor:
    """The picture `(1, 1, H, W)` that `log_implausibility` measures; arguments as there."""
    canvas = Canvas.around(grey, psf)
    weights = grey.new_full((1, 1, 1, 1), weight)
    return canvas.crop(hyper_laplacian(canvas, weights, _EXPONENT, steps=3, progress=Progress()))


def edge_strength(grey: Tensor, margin: int) -> Tensor:
    """The energy of the slopes in each tile, `(tiles,)`, as in `log_implausibility`."""
    return _tile_means(_inside(gradient(grey).square().sum(0), margin))


def margin_of(psf: Tensor) -> int:
    """The border in pixels that tiles leave out for a PSF `(h, w)`."""
    return max(psf.shape) // 2 + 1


def holds_tiles(grey: Tensor, psf: Tensor) -> bool:
    """Whether a picture `(1, 1, H, W)` is large enough for at least one tile."""
    return min(grey.shape[-2:]) - 2 * margin_of(psf) >= TILE


def turned_margin(grey: Tensor, psf: Tensor, left_out: Tensor | None = None) -> float:
    """How much better a PSF explains the blur than the same PSF turned by 180 degrees.

    It is the mean difference of `log_implausibility`, with the weight for some noise, over the half of the tiles with
    the stronger edges. Both PSFs blur and amplify noise equally, since their spectra have the same absolute values. So
    the difference does not depend on how much is deblurred, as `implausibility` does.

    Args:
        grey: `(1, 1, H, W)`, [0, 1], large enough (see `holds_tiles`).
        psf: `(h, w)`, odd sides.
        left_out: tiles with a pixel where this is True do not count, `(1, 1, H, W)`; None: all count.

    Returns:
        About 0 for a wrong or a symmetric PSF, .06 to 1 for a true one: the closer it is to the true one, the more. 0
        if no tile counts.
    """
    margin = margin_of(psf)
    own, turned = (log_implausibility(grey, copy, margin, SOME_NOISE) for copy in (psf, psf.flip(0, 1)))
    gains, strength = turned - own, edge_strength(grey, margin)
    if left_out is not None:
        counts = _tile_means(_inside(left_out.to(grey), margin)) == 0
        gains, strength = gains[counts], strength[counts]
    return float(gains[strength >= strength.median()].mean()) if len(gains) else 0.0


def _inside(field: Tensor, margin: int) -> Tensor:
    """`field` `(..., H, W)` without its border."""
    return field[..., margin : field.shape[-2] - margin, margin : field.shape[-1] - margin]


def _tile_means(field: Tensor) -> Tensor:
    """Means over tiles of `(1, 1, H, W)`: `(tiles,)`."""
    return F.avg_pool2d(field, TILE, stride=TILE // 2).flatten()


def most_plausible(implausibilities: list[float], margins: list[float]) -> int:
    """The number of the candidate to choose, from the `implausibility` of each and its `turned_margin`.

    It is the most plausible one of those that the photo tells from their turned copies nearly as well as the best. If
    the margin of the best is that of a symmetric or wrong PSF, it is the most plausible one of all.
    """
    least = max(max(margins) * _NEARLY, 0.0) if max(margins) >= TOLD_APART else -torch.inf
    return min((number for number, margin in enumerate(margins) if margin >= least), key=lambda n: implausibilities[n])
