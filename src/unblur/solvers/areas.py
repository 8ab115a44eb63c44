"""The parts of a picture from which its blur can be told: those with edges in all directions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.solvers.canvas import gradient

LARGEST = 768
"""Side in pixels of the area that a PSF is estimated from; chosen by hand."""

# Chosen by hand.
_FLAT = 0.5 / 255  # smaller differences between neighbours, on the [0, 1] scale, are rounding to 8 bits, not edges
_CELL = 32  # pixels: side of the cells that areas consist of
_STRIP = 32  # rows of cells whose gradients are in memory at once


def is_flat(picture: Tensor) -> bool:
    """Whether no two neighbouring pixels differ by more than the rounding to 8 bits."""
    return float(gradient(picture)[..., :-1, :-1].abs().max()) < _FLAT


def informative_area(picture: Tensor, side: int = LARGEST) -> Tensor:
    """Crop the area of at most `side` pixels with the most edges in all directions: `(1, 1, h, w)`.

    See `informative_place`.
    """
    rows, columns = informative_place(picture, side)
    return picture[..., rows, columns]


def informative_place(picture: Tensor, side: int = LARGEST) -> tuple[slice, slice]:
    """Find the rows and columns of the `informative_area` of a grey picture `(1, 1, H, W)`.

    It is the area whose structure tensor has the largest smaller eigenvalue (Harris & Stephens 1988; Hu & Yang 2012
    choose regions for deblurring in the same way), since a PSF can be estimated only from edges in all directions. The
    memory for this does not grow with the picture's height.
    """
    height, width = picture.shape[-2:]
    if height <= side and width <= side:
        return slice(0, height), slice(0, width)
    cell = min(_CELL, height - 1), min(_CELL, width - 1)
    strip = cell[0] * _STRIP
    tensors = [
        _structure_tensors(picture[..., top : top + strip + 1, :], cell) for top in range(0, height - cell[0], strip)
    ]
    window = [max(min(side, length - 1) // step, 1) for length, step in zip((height, width), cell, strict=True)]
    xx, yy, xy = F.avg_pool2d(torch.cat(tensors, -2), window, stride=1)[0]
    smaller = (xx + yy) / 2 - (((xx - yy) / 2).square() + xy.square()).sqrt()
    row, column = divmod(int(smaller.flatten().argmax()), smaller.shape[-1])
    top, left = row * cell[0], column * cell[1]
    return slice(top, min(top + side, height)), slice(left, min(left + side, width))


def _structure_tensors(picture: Tensor, cell: tuple[int, int]) -> Tensor:
    """Compute the mean structure tensor (xx, yy, xy) of each cell of a grey picture: `(1, 3, n, m)`."""
    dx, dy = gradient(picture)[..., :-1, :-1]  # (1, 1, H - 1, W - 1) each
    return F.avg_pool2d(torch.cat((dx * dx, dy * dy, dx * dy), 1), cell)
