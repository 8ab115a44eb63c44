"""Blind PSF estimation with L0-regularised gradients, from coarse to fine scales.

The L0 penalty on gradients makes the estimate of the sharp picture piecewise constant. Only strong edges remain, and
the PSF is estimated from them. The method is that of Xu, Zheng & Jia 2013 ("Unnatural L0 sparse representation"), with
the continuation and schedules of Pan et al. 2014 and 2017.

If another method has restored the picture already, its result can be given as an exemplar. The gradients of the
estimated sharp picture are then kept close to those of the exemplar (Pan et al. 2014, "Deblurring face images with
exemplars"; Miao & Zhu, Eq. 8).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import fast_shape, psf_to_otf
from unblur.solvers.canvas import gradient, gradient_adjoint, gradient_power
from unblur.solvers.psf_fit import fit_psf, prune, salient
from unblur.types import Progress

# The schedules are published, the rest was chosen by hand; benchmarks/tune_blind.py measures the result.
_SCALE = 0.5**0.5  # ratio of the sizes of one pyramid level and the next finer one
_COARSEST = 5  # pixels: side of the PSF at the coarsest level
WEIGHT_DECAY = 1.1  # the L0 weight is divided by this in each iteration, down to the least one
LEAST_WEIGHT = 1e-4  # least L0 weight
_FAINTER = 8  # ratio of the threshold of edges at the start of a search to that at its end, about
_BETA_MAX = 1e3  # largest beta of the half-quadratic continuation; with 1e5 the result is the same


@dataclass(frozen=True)
class L0Search:
    """Parameters of one PSF estimation.

    Attributes:
        size: side of the PSF in pixels at full resolution, odd.
        weight: weight of the L0 norm of the sharp picture's gradients at the coarsest level; higher keeps fewer edges.
        smoothness: quadratic penalty on the PSF, relative to the gradients' energy.
        iterations: alternations between sharp picture and PSF per pyramid level.
        exemplar_weight: weight of the squared difference from the exemplar's gradients; with 0, or without an exemplar,
            no exemplar is used.
    """

    size: int
    weight: float
    smoothness: float
    iterations: int
    exemplar_weight: float = 1e-3

    def scales(self) -> list[float]:
        """Scales of the pyramid, from the coarsest to 1."""
        levels = max(math.floor(math.log(_COARSEST / self.size) / math.log(_SCALE)), 0)
        return [_SCALE**level for level in range(levels, -1, -1)]


def search_psf(blurry: Tensor, search: L0Search, progress: Progress, exemplar: Tensor | None = None) -> Tensor:
    """Estimate the PSF of a grey picture.

    Args:
        blurry: `(1, 1, H, W)`, [0, 1].
        search: parameters of the estimation.
        progress: advanced once per pyramid level.
        exemplar: an estimate of the sharp picture, same shape; None: there is none.

    Returns:
        `(h, w)`, odd sides of at most `search.size`, non-negative, sums to 1.
    """
    *_, psf = psfs_by_level(blurry, search, progress, exemplar)
    return psf


def psfs_by_level(
    blurry: Tensor, search: L0Search, progress: Progress, exemplar: Tensor | None = None
) -> Iterator[Tensor]:
    """As `search_psf`, but yields the PSF of each pyramid level, at the size of that level.

    A level is computed when it is asked for. So a search can be given up early.
    """
    psf, weight, threshold = None, search.weight, None
    for scale in search.scales():
        size = max(odd_side(search.size * scale), 3)
        psf = _start(size, blurry) if psf is None else _enlarge(psf, size)
        guide = None if exemplar is None or search.exemplar_weight == 0 else reduced(exemplar, scale)
        level = Level.of(reduced(blurry, scale), size, guide, search.exemplar_weight)
        for _ in range(search.iterations):
            sharp = level.sharpen(psf, weight)  # (2, H', W') gradients
            threshold = salient(sharp, 4 * size) if threshold is None else threshold / WEIGHT_DECAY
            edges = sharp * (sharp.square().sum(0) >= threshold**2)
            psf = prune(fit_psf(edges, level.blurry_gradient, psf, search.smoothness))
            weight = max(weight / WEIGHT_DECAY, LEAST_WEIGHT)
        progress.advance()
        yield psf


def revise_psf(blurry: Tensor, psf: Tensor, smoothness: float) -> Tensor:
    """Fit a PSF that is nearly right to the edges of the sharp picture estimated with it, at full resolution only.

    This repeats the last two alternations of `search_psf`, with a small L0 weight and a low threshold of edges.

    Args:
        blurry: `(1, 1, H, W)`.
        psf: `(h, w)`, odd sides.
        smoothness: as in `L0Search`.

    Returns:
        `(h, w)`, non-negative, sums to 1.
    """
    level, size, threshold = Level.of(blurry, max(psf.shape)), max(psf.shape), None
    for _ in range(2):
        sharp = level.sharpen(psf, 2 * LEAST_WEIGHT)  # (2, H', W') gradients
        threshold = salient(sharp, 4 * size) / _FAINTER if threshold is None else threshold / WEIGHT_DECAY
        edges = sharp * (sharp.square().sum(0) >= threshold**2)
        psf = prune(fit_psf(edges, level.blurry_gradient, psf, smoothness))
    return psf


@dataclass(frozen=True)
class Level:
    """The picture at one pyramid level, extended so that it is periodic, with what all iterations use of it.

    Attributes:
        spectrum: of the extended picture.
        start: the first estimate of the sharp picture: the exemplar, or the extended picture.
        inside: 1 inside the picture, 0 in the extension.
        blurry_gradient: gradient of the picture, `(2, H', W')`.
        guide: spectrum of the exemplar's gradients, with the adjoint of the gradient applied; 0 without an exemplar.
        guide_weight: weight of the exemplar; 0 without one.
    """

    spectrum: Tensor
    start: Tensor
    inside: Tensor
    blurry_gradient: Tensor
    guide: Tensor | float
    guide_weight: float

    @classmethod
    def of(cls, picture: Tensor, psf_size: int, exemplar: Tensor | None = None, guide_weight: float = 0.0) -> Level:
        """Extend a picture `(1, 1, H, W)` for PSFs of up to `psf_size` pixels; `exemplar` has the same shape."""
        extended = periodic_extension(picture, psf_size // 2 + 1)  # (1, 1, H', W')
        inside = torch.zeros_like(extended[0, 0])
        # Inside, gradients do not depend on the extension.
        inside[1 : picture.shape[-2] - 1, 1 : picture.shape[-1] - 1] = 1
        blurry_gradient = gradient(extended)[:, 0, 0] * inside
        spectrum = torch.fft.rfft2(extended)
        if exemplar is None:
            return cls(spectrum, extended, inside, blurry_gradient, 0.0, 0.0)
        start = periodic_extension(exemplar, psf_size // 2 + 1)
        guide = torch.fft.rfft2(gradient_adjoint(gradient(start)))
        return cls(spectrum, start, inside, blurry_gradient, guide, guide_weight)

    def sharpen(self, psf: Tensor, weight: float) -> Tensor:
        """Estimate the sharp picture: its gradients, `(2, H', W')`.

        It is `argmin_x |k * x - y|^2 + weight |grad x|_0 + guide_weight |grad x - grad exemplar|^2`, by half-quadratic
        splitting in which beta is doubled (Xu et al. 2011, Algorithm 1; Pan et al. 2014, Eq. 8-10).
        """
        shape = (self.start.shape[-2], self.start.shape[-1])
        otf = psf_to_otf(psf, shape)
        fixed = (otf.conj() * self.spectrum + self.guide_weight * self.guide)[0, 0]  # (H', W'//2 + 1)
        power, laplacian = otf.abs().square()[0, 0], gradient_power(shape, self.start)[0, 0]
        # All passes write into these arrays, since most of the time of a pass is the access to new memory.
        edges = self.start.new_empty(2, *shape)
        kept, divisor = edges.new_empty(shape), torch.empty_like(power)
        sharp, beta = self.start[0, 0], 2 * weight
        while beta < _BETA_MAX:
            _gradient_into(edges, sharp)
            torch.mul(edges[0], edges[0], out=kept).addcmul_(edges[1], edges[1])
            edges.mul_(kept.ge_(weight / beta))  # Xu et al. 2011, Eq. 12
            right = torch.fft.rfft2(_gradient_adjoint_into(kept, edges))
            torch.add(fixed, right, alpha=beta, out=right)
            torch.add(power, laplacian, alpha=beta + self.guide_weight, out=divisor)
            sharp = torch.fft.irfft2(right.mul_(divisor.reciprocal_()), s=shape)
            beta *= 2
        _gradient_into(edges, sharp)
        return edges.mul_(self.inside)


def _gradient_into(field: Tensor, image: Tensor) -> None:
    """Write the `canvas.gradient` of `image` `(H, W)` into `field` `(2, H, W)`."""
    dx, dy = field
    torch.sub(image[:, 1:], image[:, :-1], out=dx[:, :-1])
    torch.sub(image[:, 0], image[:, -1], out=dx[:, -1])
    torch.sub(image[1:], image[:-1], out=dy[:-1])
    torch.sub(image[0], image[-1], out=dy[-1])


def _gradient_adjoint_into(image: Tensor, field: Tensor) -> Tensor:
    """Write the `canvas.gradient_adjoint` of `field` `(2, H, W)` into `image` `(H, W)`; returns `image`."""
    dx, dy = field
    torch.sub(dx[:, :-1], dx[:, 1:], out=image[:, 1:])
    torch.sub(dx[:, -1], dx[:, 0], out=image[:, 0])
    image.sub_(dy)
    image[1:].add_(dy[:-1])
    image[0].add_(dy[-1])
    return image


def reduced(picture: Tensor, scale: float) -> Tensor:
    """A picture `(1, 1, H, W)` at one scale of the pyramid."""
    if scale == 1:
        return picture
    return F.interpolate(picture, scale_factor=scale, mode="bicubic", antialias=True)


def periodic_extension(picture: Tensor, reach: int) -> Tensor:
    """Extend a picture below and to the right so that it is periodic without a discontinuity.

    The extension changes smoothly from the last row (column) to the first. The new size is fast for FFTs, and at least
    `2 * reach` larger.
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
    """The first PSF, `(size, size)`: two neighbouring pixels."""
    # The iterations would not change a single pixel (no blur).
    psf = like.new_zeros(size, size)
    psf[size // 2, size // 2 - 1 : size // 2 + 1] = 0.5
    return psf


def _enlarge(psf: Tensor, size: int) -> Tensor:
    """Resize a coarser level's PSF to `(size, size)`, and move its centre of mass to the middle pixel."""
    k = F.interpolate(psf[None, None], size=(size, size), mode="bicubic")[0, 0].clamp_min(0)
    k = k / k.sum()
    index = torch.arange(size, dtype=k.dtype, device=k.device)
    shift = [round(size // 2 - float((k.sum(axis) * index).sum())) for axis in (1, 0)]
    return k.roll(shift, (0, 1))


def odd_side(size: float) -> int:
    """The smallest odd number that is at least `size`."""
    return 2 * math.ceil((size - 1) / 2) + 1
