"""Blur that changes smoothly over a picture, as an operator: efficient filter flow (Hirsch et al. 2010, Eq. 8).

The picture is blurred with the PSF of each place of a grid, and the results are blended with bilinear weights. The
weights are applied after the convolution, so that a constant picture is not changed. Applied before it, as in the
paper, they describe PSFs that belong to the point the light comes from, and not to the pixel where it arrives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve


@dataclass(frozen=True)
class FilterFlow:
    """A blur with a PSF for each place of a grid.

    Attributes:
        psfs: `(rows, columns, h, w)`, odd sides, each sums to 1. They belong to the places `centres`.
        size: height and width in pixels of the pictures.
    """

    psfs: Tensor
    size: tuple[int, int]

    def forward(self, sharp: Tensor) -> Tensor:
        """Blur pictures `(B, C, H, W)`; beyond the border they are 0."""
        return torch.stack([convolve(sharp, psf, "zero") * weight for psf, weight in self._parts(sharp)]).sum(0)

    def adjoint(self, blurry: Tensor) -> Tensor:
        """Apply the adjoint of `forward` to pictures `(B, C, H, W)`."""
        parts = [convolve(blurry * weight, psf.flip(0, 1), "zero") for psf, weight in self._parts(blurry)]
        return torch.stack(parts).sum(0)

    def _parts(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The PSF and the weight `(H, W)` of each place."""
        rows, columns = (blending_weights(n, self.psfs.shape[k]) for k, n in enumerate(self.size))
        return [
            (self.psfs[i, j].to(like), (row[:, None] * column).to(like))
            for i, row in enumerate(rows)
            for j, column in enumerate(columns)
        ]


def centres(length: int, count: int) -> list[float]:
    """The places of `count` PSFs along a side of `length` pixels: the middle of each of as many equal parts."""
    return [(number + 0.5) * length / count - 0.5 for number in range(count)]


def blending_weights(length: int, count: int) -> Tensor:
    """The weight of each of the `centres` in every pixel along a side: `(count, length)`; they sum to 1.

    A weight falls linearly from 1 at its own centre to 0 at the neighbouring ones, and stays 1 towards the border.
    """
    places = torch.tensor(centres(length, count), dtype=torch.float64)
    pixels = torch.arange(length, dtype=torch.float64)
    if count == 1:
        return torch.ones(1, length)
    step = length / count
    hats = (1 - (pixels - places[:, None]).abs() / step).clamp(0, 1)  # (count, length)
    hats[0, pixels <= places[0]] = 1
    hats[-1, pixels >= places[-1]] = 1
    return hats.float()
