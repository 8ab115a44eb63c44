"""Restore a large picture piece by piece: memory stays bounded, and no seam shows.

A tile is cut out with a `halo` around it, wide enough that what happens at the cut does not reach the tile
itself; the halo is thrown away. Neighbouring tiles overlap by `BLEND` more pixels, over which one fades into
the other, so that a difference too small to see does not line up into a visible edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.types import Progress

WHOLE_UP_TO = 1_500_000
"""Pictures of at most so many pixels are restored in one piece."""

TILE = 768
"""Largest side of a tile in pixels, without its halo (benchmarks: 512 to 1536, 12 megapixels, 31 px PSF)."""

BLEND = 16


def halo_for(psf: Tensor | None) -> int:
    """How far in pixels restoring with `psf` looks around, so that tiles agree with the whole picture."""
    side = 0 if psf is None else max(psf.shape[-2:])
    return max(side, 32) + 16


def tiled(
    restore: Callable[[Tensor, Progress], Tensor],
    image: Tensor,
    *,
    halo: int,
    tile: int = TILE,
    progress: Progress | None = None,
) -> Tensor:
    """Apply `restore` to overlapping tiles of a picture and join the results.

    Args:
        restore: turns `(B, C, h, w)` into a picture of the same size; the `Progress` it is given passes
            a cancellation on.
        image: `(B, C, H, W)`.
        halo: pixels of surroundings each tile is given; more agrees better with the whole and takes longer.
        tile: largest side of a tile in pixels, at least `BLEND`; more needs more memory.
        progress: told of every tile done.

    Returns:
        `(B, C, H, W)`.
    """
    progress = progress or Progress()
    rows, columns = (_cut(size, max(tile, BLEND), halo) for size in image.shape[-2:])
    result = torch.zeros_like(image)
    progress.stage("restoring tiles", len(rows) * len(columns))
    for row in rows:
        for column in columns:
            restored = restore(image[..., row.cut, column.cut], _WithinTile(progress))
            weight = row.weight[:, None] * column.weight  # (h, w)
            part = restored[..., row.kept, column.kept] * weight.to(restored)
            result[..., row.place, column.place] += part
            progress.advance()
    return result


@dataclass(frozen=True)
class _Span:
    """One tile along one axis.

    Attributes:
        cut: what is cut out of the picture, halo included.
        place: where its part of the result lies in the picture.
        kept: that part within what was cut out.
        weight: 1, fading to 0 where a neighbour takes over; the weights at a pixel sum to 1.
    """

    cut: slice
    place: slice
    kept: slice
    weight: Tensor


def _cut(size: int, tile: int, halo: int) -> list[_Span]:
    """Cut a line of `size` pixels into tiles of nearly equal length."""
    count = math.ceil(size / tile)
    edges = [round(size * i / count) for i in range(count + 1)]
    return [_span(start, stop, size, halo) for start, stop in zip(edges, edges[1:], strict=False)]


def _span(start: int, stop: int, size: int, halo: int) -> _Span:
    first, last = max(start - BLEND // 2, 0), min(stop + BLEND // 2, size)
    weight = torch.ones(last - first)
    fade = (torch.arange(BLEND) + 0.5) / BLEND
    if start > 0:
        weight[:BLEND] *= fade
    if stop < size:
        weight[-BLEND:] *= fade.flip(0)
    before, after = max(first - halo, 0), min(last + halo, size)
    return _Span(slice(before, after), slice(first, last), slice(first - before, last - before), weight)


class _WithinTile(Progress):
    """What a method reports inside one tile: not drawn, but a cancellation reaches it."""

    def __init__(self, outer: Progress) -> None:
        super().__init__()
        self._outer = outer

    def on_stage(self, name: str, total: int | None) -> None:
        self._outer.advance(0)

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._outer.advance(0)
