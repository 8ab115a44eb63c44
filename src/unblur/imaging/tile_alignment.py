"""Alignment of the frames of a burst, tile by tile: where each tile of one frame lies in another one.

Hasinoff et al., "Burst photography for high dynamic range and low-light imaging on mobile cameras" (HDR+, SIGGRAPH Asia
2016), section 4: from coarse to fine copies of the luminance, each tile is compared with the other frame at some
displacements around that of the tile below it at the coarser level or of one of its neighbours.

Differences from the paper: displacements are whole pixels at all levels. At the finest level tiles are compared by
squared differences instead of absolute ones, and they overlap by half, as in the merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_FACTORS = (1, 2, 4, 4)  # ratio of the sizes of a level and the next coarser one, from the finest; from the paper
_RADII = (1, 4, 4, 4)  # pixels of the level, largest change of a displacement, from the finest level; from the paper


@dataclass(frozen=True)
class TileGrid:
    """Square tiles that overlap by half, from half a tile outside the picture, so that every pixel is in four tiles.

    Attributes:
        side: of a tile in pixels, even.
        size: height and width of the picture.
    """

    side: int
    size: tuple[int, int]

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of rows and columns of tiles."""
        return -(-self.size[0] * 2 // self.side) + 1, -(-self.size[1] * 2 // self.side) + 1

    def corners(self, device: torch.device) -> Tensor:
        """Row and column of the first pixel of each tile: `(rows, columns, 2)`, from `-side / 2`."""
        step = self.side // 2
        rows, columns = (step * torch.arange(count, device=device) - step for count in self.counts)
        return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1)

    def cut(self, picture: Tensor, displacements: Tensor, margin: int = 0) -> Tensor:
        """The tiles of a picture, each displaced; beyond the border, the nearest pixel counts.

        Args:
            picture: `(C, H, W)`.
            displacements: `(rows, columns, 2)`, whole pixels, (y, x).
            margin: pixels that are added on each side of a tile.

        Returns:
            `(C, rows, columns, side + 2 margin, side + 2 margin)`.
        """
        corners = self.corners(picture.device) + displacements
        inside = torch.arange(-margin, self.side + margin, device=picture.device)
        y, x = (
            (corners[..., axis, None] + inside).clamp(0, picture.shape[axis + 1] - 1) for axis in (0, 1)
        )  # (rows, columns, side) each
        return picture[:, y[..., :, None], x[..., None, :]]

    def joined(self, tiles: Tensor) -> Tensor:
        """The picture `(C, H, W)` of tiles `(C, rows, columns, side, side)`: the sum with raised-cosine windows.

        The windows of a pixel's four tiles sum to 1 (Hasinoff et al., section 5).
        """
        phase = 2 * torch.pi * (torch.arange(self.side, device=tiles.device, dtype=tiles.dtype) + 0.5) / self.side
        window = 0.5 - 0.5 * torch.cos(phase)
        weighted = (tiles * window[:, None] * window).movedim((3, 4), (1, 2)).flatten(3).flatten(0, 2)
        step = self.side // 2
        whole = [step * (count + 1) for count in self.counts]
        summed = F.fold(weighted[None], (whole[0], whole[1]), self.side, stride=step)[0]
        return summed[:, step : step + self.size[0], step : step + self.size[1]]


def align_tiles(frame: Tensor, reference: Tensor, grid: TileGrid) -> Tensor:
    """Find where the tiles of the reference lie in another frame.

    Args:
        frame: luminance, `(1, H, W)`.
        reference: same shape.
        grid: the tiles.

    Returns:
        The displacement of each tile in pixels, (y, x), `(rows, columns, 2)`: the tile of `frame` at this displacement
        is like that of `reference`.
    """
    pyramid = [(frame, reference)]
    for factor in _FACTORS[1:]:
        smaller = [F.avg_pool2d(picture, factor, ceil_mode=True) for picture in pyramid[-1]]
        if min(smaller[0].shape[-2:]) < grid.side:
            break
        pyramid.append((smaller[0], smaller[1]))
    found: Tensor | None = None
    for level in reversed(range(len(pyramid))):
        other, own = pyramid[level]
        tiles = TileGrid(grid.side, (own.shape[-2], own.shape[-1]))
        start = torch.zeros_like(tiles.corners(own.device))
        if found is not None:
            factor = _FACTORS[level + 1]
            start = _best(other, own, tiles, _enlarged(found, tiles.counts, factor))
        found = _searched(other, own, tiles, start, _RADII[level])
    assert found is not None
    return found


def _enlarged(coarse: Tensor, counts: tuple[int, int], factor: int) -> Tensor:
    """For each tile the displacements of three near tiles of the coarser level, in pixels: `(3, rows, columns, 2)`."""
    rows, columns = ((torch.arange(count, device=coarse.device) / factor) for count in counts)

    def near(places: Tensor, count: int, *, second: bool) -> Tensor:
        """The index of the nearest tile, or of the second nearest."""
        index = places.round()
        if second:
            index = index + torch.where(places < index, -1, 1)
        return index.long().clamp(0, count - 1)

    height, width = coarse.shape[:2]
    chosen = []
    for second_row, second_column in ((False, False), (True, False), (False, True)):
        y, x = near(rows, height, second=second_row), near(columns, width, second=second_column)
        chosen.append(factor * coarse[y[:, None], x])
    return torch.stack(chosen)


def _best(frame: Tensor, reference: Tensor, grid: TileGrid, candidates: Tensor) -> Tensor:
    """The candidate `(n, rows, columns, 2)` of the least difference for each tile: `(rows, columns, 2)`."""
    own = grid.cut(reference, torch.zeros_like(candidates[0]))
    costs = torch.stack([_cost(grid.cut(frame, candidate), own) for candidate in candidates])  # (n, rows, columns)
    best = costs.argmin(0)[None, ..., None].expand(1, -1, -1, 2)
    return candidates.gather(0, best)[0]


def _searched(frame: Tensor, reference: Tensor, grid: TileGrid, start: Tensor, radius: int) -> Tensor:
    """The best displacements within `radius` pixels of `start`, `(rows, columns, 2)`; of equal ones the nearest."""
    own = grid.cut(reference, torch.zeros_like(start))
    around = grid.cut(frame, start, radius)
    shifts = [(y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1)]
    shifts.sort(key=lambda shift: shift[0] ** 2 + shift[1] ** 2)  # argmin returns the first of equal ones
    costs = []
    for y, x in shifts:
        there = around[..., radius + y : radius + y + grid.side, radius + x : radius + x + grid.side]
        costs.append(_cost(there, own))
    best = torch.stack(costs).argmin(0)  # (rows, columns)
    return start + torch.tensor(shifts, device=start.device)[best]


def _cost(tiles: Tensor, own: Tensor) -> Tensor:
    """The mean squared difference of each tile: `(1, rows, columns, side, side)` -> `(rows, columns)`."""
    return (tiles - own).square().mean((0, 3, 4))
