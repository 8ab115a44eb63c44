"""Blind deconvolution with L0-regularised gradients, coarse to fine.

The L0 penalty on gradients makes the sharp guess piecewise flat, so that only large edges remain, from which a PSF can
be estimated. Xu, Zheng & Jia 2013 ("Unnatural L0 sparse
representation"); Pan et al. 2014 and 2017, whose continuation and schedules are followed here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import fast_shape, psf_to_otf
from unblur.solvers.canvas import gradient, gradient_adjoint, gradient_power
from unblur.solvers.psf_fit import fit_psf, prune, salient
from unblur.solvers.shrinkage import hard_threshold
from unblur.types import Progress

# All but the published schedules were chosen by hand; benchmarks/tune_blind.py measures the whole.
_SCALE = 0.5**0.5  # from one pyramid level to the next coarser one
_COARSEST = 5  # PSF side in pixels at the coarsest level
_WEIGHT_DECAY = 1.1  # the L0 weight falls by this factor per iteration, down to the least one
_LEAST_WEIGHT = 1e-4
_FAINTER = 8  # how far the threshold of edges has fallen by the end of a search
_BETA_MAX = 1e3  # where the half-quadratic continuation ends; 1e5 changes nothing but the time


@dataclass(frozen=True)
class L0Search:
    """One run of the pyramid.

    Attributes:
        size: side of the PSF's support at full resolution, odd.
        weight: of the L0 norm of the sharp guess's gradients at the coarsest level; higher keeps fewer edges.
        smoothness: quadratic penalty on the PSF, relative to the gradients' energy.
        iterations: alternations between sharp guess and PSF per level.
    """

    size: int
    weight: float
    smoothness: float
    iterations: int

    def scales(self) -> list[float]:
        """Scales of the pyramid, coarsest first, ending with 1."""
        levels = max(math.floor(math.log(_COARSEST / self.size) / math.log(_SCALE)), 0)
        return [_SCALE**level for level in range(levels, -1, -1)]


def search_psf(blurry: Tensor, search: L0Search, progress: Progress) -> Tensor:
    """Estimate the PSF of a grey picture.

    Args:
        blurry: `(1, 1, H, W)`, [0, 1].
        search: support, weights and iterations.
        progress: advanced once per pyramid level.

    Returns:
        `(h, w)` with odd sides of `search.size` or less (less for a tiny picture), non-negative, sums to 1.
    """
    psf, weight, threshold = None, search.weight, None
    for scale in search.scales():
        size = max(_odd(search.size * scale), 3)
        picture = blurry
        if scale < 1:
            picture = F.interpolate(blurry, scale_factor=scale, mode="bicubic", antialias=True)
        psf = _start(size, blurry) if psf is None else _enlarge(psf, size)
        level = _Level.of(picture, size)
        for _ in range(search.iterations):
            sharp = level.sharpen(psf, weight)  # (2, H', W') gradients
            threshold = salient(sharp, 4 * size) if threshold is None else threshold / _WEIGHT_DECAY
            edges = sharp * (sharp.square().sum(0) >= threshold**2)
            psf = prune(fit_psf(edges, level.blurry_gradient, psf, search.smoothness))
            weight = max(weight / _WEIGHT_DECAY, _LEAST_WEIGHT)
        progress.advance()
    assert psf is not None
    return psf


def revise_psf(blurry: Tensor, psf: Tensor, smoothness: float) -> Tensor:
    """Fit a PSF that is nearly right to the strong edges of the sharp guess it gives itself, at full size alone.

    Two alternations of `search_psf` as it ends: at about its least weight, with edges far fainter than it begins with.

    Args:
        blurry: `(1, 1, H, W)`.
        psf: `(h, w)`, odd sides.
        smoothness: as in `L0Search`.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    level, size, threshold = _Level.of(blurry, max(psf.shape)), max(psf.shape), None
    for _ in range(2):
        sharp = level.sharpen(psf, 2 * _LEAST_WEIGHT)  # (2, H', W') gradients
        threshold = salient(sharp, 4 * size) / _FAINTER if threshold is None else threshold / _WEIGHT_DECAY
        edges = sharp * (sharp.square().sum(0) >= threshold**2)
        psf = prune(fit_psf(edges, level.blurry_gradient, psf, smoothness))
    return psf


@dataclass(frozen=True)
class _Level:
    """A pyramid level, extended to a torus: what its iterations share."""

    spectrum: Tensor
    seamless: Tensor
    inside: Tensor
    blurry_gradient: Tensor

    @classmethod
    def of(cls, picture: Tensor, psf_size: int) -> _Level:
        seamless = _seamless(picture, psf_size // 2 + 1)  # (1, 1, H', W')
        inside = torch.zeros_like(seamless[0, 0])
        inside[1 : picture.shape[-2] - 1, 1 : picture.shape[-1] - 1] = 1  # gradients within the photo
        blurry_gradient = gradient(seamless)[:, 0, 0] * inside
        return cls(torch.fft.rfft2(seamless), seamless, inside, blurry_gradient)

    def sharpen(self, psf: Tensor, weight: float) -> Tensor:
        """Gradients inside the photo of the sharp guess: `argmin_x |k * x - y|^2 + weight |grad x|_0`.

        Half-quadratic splitting with a beta that doubles (Xu et al. 2011, Algorithm 1; Pan et al. 2014, Eq. 8-10).
        """
        shape = (self.seamless.shape[-2], self.seamless.shape[-1])
        otf = psf_to_otf(psf, shape)
        data, power = otf.conj() * self.spectrum, otf.abs().square()
        laplacian = gradient_power(shape, self.seamless)
        sharp, beta = self.seamless, 2 * weight
        while beta < _BETA_MAX:
            edges = hard_threshold(gradient(sharp), weight / beta)
            right = data + beta * torch.fft.rfft2(gradient_adjoint(edges))
            sharp = torch.fft.irfft2(right / (power + beta * laplacian), s=shape)
            beta *= 2
        return gradient(sharp)[:, 0, 0] * self.inside


def _seamless(picture: Tensor, reach: int) -> Tensor:
    """The picture extended below and to the right, on a fast FFT size at least `2 * reach` larger, by a smooth
    passage from its last row (column) to its first, so that it wraps around without a seam.
    """
    height, width = picture.shape[-2:]
    shape = fast_shape(height + 2 * reach, width + 2 * reach)
    for dim, gap in ((-2, shape[0] - height), (-1, shape[1] - width)):
        t = torch.linspace(0, 1, gap + 2, dtype=picture.dtype, device=picture.device)[1:-1]
        ease = (t * t * (3 - 2 * t)).view(-1, *[1] * (-1 - dim))  # (gap, 1) or (gap,)
        last, first = picture.narrow(dim, picture.shape[dim] - 1, 1), picture.narrow(dim, 0, 1)
        picture = torch.cat((picture, last + (first - last) * ease), dim)
    return picture


def _start(size: int, like: Tensor) -> Tensor:
    """Two neighbouring pixels: nearly no blur, but not a delta, which the iterations would never leave."""
    psf = like.new_zeros(size, size)
    psf[size // 2, size // 2 - 1 : size // 2 + 1] = 0.5
    return psf


def _enlarge(psf: Tensor, size: int) -> Tensor:
    """A coarser level's PSF on the next level's grid, its centre of mass moved to the middle pixel."""
    k = F.interpolate(psf[None, None], size=(size, size), mode="bicubic")[0, 0].clamp_min(0)
    k = k / k.sum()
    index = torch.arange(size, dtype=k.dtype, device=k.device)
    shift = [round(size // 2 - float((k.sum(axis) * index).sum())) for axis in (1, 0)]
    return k.roll(shift, (0, 1))


def _odd(size: float) -> int:
    """The smallest odd number that is not below `size`."""
    return 2 * math.ceil((size - 1) / 2) + 1
