"""The PSF between two known pictures of one scene: a sharp and a blurry one."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.imaging.psf import crop_psf, delta_psf
from unblur.solvers.areas import informative_place, is_flat
from unblur.solvers.canvas import gradient
from unblur.solvers.l0 import periodic_extension
from unblur.solvers.psf_fit import fit_psf, prune


def psf_between(sharp: Tensor, blurry: Tensor, size: int, smoothness: float) -> Tensor:
    """Estimate the PSF that blurs one picture to another, by regularised least squares on their gradients.

    It is `argmin_{k >= 0} |grad sharp * k - grad blurry|^2 + smoothness |grad sharp|^2 |k|^2` with `sum k = 1`
    (Yuan et al. 2007, Eq. 4, on gradients), solved twice: for all pixels of a square, then for the smaller square that
    holds the light that was found, so that the noise of fewer pixels is fitted. Faint and separate pixels are removed
    each time.

    Args:
        sharp: `(1, 1, H, W)`, [0, 1]. Only the most detailed area of 768 x 768 px is used.
        blurry: same shape.
        size: side of the square in pixels, odd; at most H and W.
        smoothness: above 0; higher is smoother and wider.

    Returns:
        `(h, w)`, odd sides, non-negative, sums to 1. It is not centred: if the blurry picture is shifted, the PSF is.
        If one picture is flat, a single pixel (no blur).
    """
    rows, columns = informative_place(blurry, _AREA)
    sharp, blurry = sharp[..., rows, columns], blurry[..., rows, columns]
    if is_flat(sharp) or is_flat(blurry):
        return delta_psf().to(blurry)
    found = _fitted(sharp, blurry, (size, size), smoothness)
    h, w = crop_psf(found, mass=1.0).shape
    sides = min(h + 2 * _RIM, size), min(w + 2 * _RIM, size)
    return crop_psf(_fitted(sharp, blurry, sides, smoothness), mass=1.0)


# Chosen by hand.
_AREA = 768  # pixels: side of the area that a PSF is estimated from, as in `solvers.blind`
_RIM = 1  # pixels on each side of the light found first that the second fit may also use


def _fitted(sharp: Tensor, blurry: Tensor, sides: tuple[int, int], smoothness: float) -> Tensor:
    """The PSF of these sides, without faint and separate pixels."""
    reach = max(sides) // 2
    start = blurry.new_full(sides, 1 / (sides[0] * sides[1]))
    return prune(fit_psf(_inner_gradient(sharp, reach), _inner_gradient(blurry, reach), start, smoothness))


def _inner_gradient(picture: Tensor, reach: int) -> Tensor:
    """The gradient of a periodic extension, 0 where it depends on the extension: `(1, 1, H, W)` -> `(2, H', W')`."""
    extended = gradient(periodic_extension(picture, reach + 1))[:, 0, 0]
    inside = torch.zeros_like(extended)
    inside[:, 1 : picture.shape[-2] - 1, 1 : picture.shape[-1] - 1] = 1
    return extended * inside
