"""Restore a large picture piece by piece: memory stays bounded, and no seam shows.

A tile is cut out with a `halo` around it, wide enough that what happens at the cut does not reach the tile
itself; the halo is thrown away. Neighbouring tiles overlap by `BLEND` more pixels, over which one fades into
the other, so that a difference too small to see does not line up into a visible edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unblur.solvers.workers import workers
from unblur.types import Observation, Progress

WHOLE_UP_TO = 1_500_000
"""Pictures of at most so many pixels are restored in one piece."""

TILE = 768
"""Largest side of a tile in pixels, without its halo. From 512 to 1024 most methods take as long, and more memory."""

BLEND = 16


def halo_for(psf: Tensor | None, reach: int = 0) -> int:
    """How far in pixels a method looks around that restores with `psf`, or whose card says `reach`.

    With one and a half PSFs, a seam costs 0.1 dB against restoring in one piece (31 px, hyper_laplacian).
    """
    side = 0 if psf is None else max(psf.shape[-2:])
    return max(math.ceil(1.5 * side), reach, 32)


def tiled(
    restore: Callable[[Observation, Progress], Tensor],
    observation: Observation,
    *,
    halo: int,
    tile: int = TILE,
    progress: Progress | None = None,
) -> Tensor:
    """Apply `restore` to overlapping tiles of an observation, every picture of it cut alike, and join the results.

    Every tile is worked on by one thread, and several tiles at once: on two cores that takes half the time
    of giving every operation of one tile two threads.

    Args:
        restore: makes a picture `(B, C, h, w)` of a tile of the observation. It is called from several threads; the
            `Progress` it is given is only there to stop it.
        observation: at least one picture, `(B, C, H, W)` or frames `(B, T, C, H, W)`.
        halo: pixels of surroundings each tile is given; more agrees better with the whole and takes longer.
        tile: largest side of a tile in pixels, at least `2 * BLEND`; more needs more memory.
        progress: told of every tile done.

    Returns:
        `(B, C, H, W)`, the same whatever the number of threads.

    Raises:
        Cancelled: after `progress.cancel()`.
    """
    progress = progress or Progress()
    first = next(iter(observation.pictures().values()))
    rows, columns = (_cut(size, max(tile, 2 * BLEND), halo) for size in first.shape[-2:])
    places = [(row, column) for row in rows for column in columns]
    result: Tensor | None = None
    stop = Progress()

    def work(row: _Span, column: _Span) -> Tensor:
        cut = observation.with_pictures(lambda picture: picture[..., row.cut, column.cut])
        restored = restore(cut, stop)[..., row.kept, column.kept]
        return restored * (row.weight[:, None] * column.weight).to(restored)

    progress.stage("restoring, tile", len(places))
    with workers(first.device) as pool:
        try:
            parts = [pool.submit(work, *place) for place in places]
            for (row, column), part in zip(places, parts, strict=True):
                made = _await(part, progress)
                if result is None:
                    result = made.new_zeros(*made.shape[:-2], *first.shape[-2:])
                result[..., row.place, column.place] += made
                progress.advance()
        except BaseException:  # Ctrl-C and a cancellation too must not wait for the tiles still to come
            stop.cancel()
            pool.shutdown(cancel_futures=True)
            raise
    assert result is not None
    return result


def _await(part: Future[Tensor], progress: Progress) -> Tensor:
    """The part once it is there; until then, a cancellation is noticed."""
    while not wait([part], timeout=0.1).done:
        progress.advance(0)
    return part.result()


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
    return [_span(start, stop, size, halo) for start, stop in pairwise(edges)]


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
