"""Restore a large picture in overlapping tiles, so that memory stays bounded and no seam shows.

A tile is cut out with a margin, the halo, wide enough that the effects of the cut do not reach the tile itself; the
halo of the result is discarded. Neighbouring tiles overlap by `BLEND` more pixels, over which one fades into the
other, so that differences too small to see do not line up into a visible edge.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from unblur.solvers.workers import worker_count, workers
from unblur.types import Observation, Progress

WHOLE_UP_TO = 1_500_000
"""Pictures of at most so many pixels are restored in one piece."""

TILE = 768
"""Largest side of a tile in pixels, without its halo. Between 512 and 1024 the time of most methods does not change,
while their memory grows."""

BLEND = 16
"""Width in pixels of the strip over which neighbouring tiles fade into each other."""


def halo_for(psf: Tensor | None, reach: int = 0) -> int:
    """How many pixels of surroundings a tile needs: one and a half PSFs, at least 32 and at least `reach`.

    With one and a half PSFs the result differs from that of the whole picture by 0.1 dB (31 px, hyper_laplacian).

    Args:
        psf: the PSF that the tile is restored with, `(..., h, w)`; None: there is none.
        reach: how far the method looks around, as `Card.reach` says.
    """
    side = 0 if psf is None else max(psf.shape[-2:])
    return max(32, math.ceil(1.5 * side), reach)


def tiled(
    restore: Callable[[Observation, Progress], Tensor],
    observation: Observation,
    *,
    halo: int,
    tile: int = TILE,
    multiple_of: int = 1,
    progress: Progress | None = None,
) -> Tensor:
    """Apply `restore` to overlapping tiles of an observation and join the results.

    Each tile is computed by one thread, and several tiles at once: on two cores that takes half the time of giving
    every operation of one tile two threads.

    Args:
        restore: turns the observation of a tile into a picture `(B, C, h, w)`. It is called from several threads; its
            `Progress` only serves to stop it.
        observation: its pictures are all cut alike; the PSF and the rest are passed on as they are.
        halo: pixels of surroundings that each tile is given; more agrees better with the whole and takes longer.
        tile: largest side of a tile in pixels, at least `2 * BLEND`; more needs more memory.
        multiple_of: rows and columns at which a tile begins are multiples of this. A network that reduces the picture
            by this factor then sees the same squares of pixels in a tile as in the whole.
        progress: advanced once per tile.

    Returns:
        `(B, C, H, W)`. Besides it no more tiles are in memory than there are threads.

    Raises:
        Cancelled: after `progress.cancel()`.
    """
    progress = progress or Progress()
    picture = next(iter(observation.pictures().values()))
    rows, columns = (_cut(size, max(tile, 2 * BLEND), halo, multiple_of) for size in picture.shape[-2:])
    places = [(row, column) for row in rows for column in columns]
    result: Tensor | None = None
    stop = Progress()

    def work(row: _Span, column: _Span) -> Tensor:
        cut = observation.with_pictures(lambda whole: whole[..., row.cut, column.cut].contiguous())
        restored = restore(cut, stop)[..., row.kept, column.kept]
        return restored * (row.weight[:, None] * column.weight).to(restored)

    progress.stage("restoring, tile", len(places))
    count = worker_count(picture.device)
    with workers(count) as pool:
        try:
            running = deque(pool.submit(work, *place) for place in places[:count])
            for number, (row, column) in enumerate(places):
                part = _await(running.popleft(), progress)
                if result is None:
                    result = part.new_zeros(*part.shape[:-2], *picture.shape[-2:])
                result[..., row.place, column.place] += part
                del part
                if number + count < len(places):
                    running.append(pool.submit(work, *places[number + count]))
                progress.advance()
        except BaseException:  # also after Ctrl-C: do not compute the remaining tiles
            stop.cancel()
            pool.shutdown(cancel_futures=True)
            raise
    assert result is not None
    return result


def _await(part: Future[Tensor], progress: Progress) -> Tensor:
    """The result of `part`; a cancellation is noticed while waiting for it."""
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


def _cut(size: int, tile: int, halo: int, multiple_of: int) -> list[_Span]:
    """Cut a line of `size` pixels into tiles of nearly equal length."""
    count = math.ceil(size / tile)
    edges = [round(size * i / count) for i in range(count + 1)]
    return [_span(start, stop, size, halo, multiple_of) for start, stop in pairwise(edges)]


def _span(start: int, stop: int, size: int, halo: int, multiple_of: int) -> _Span:
    first, last = max(start - BLEND // 2, 0), min(stop + BLEND // 2, size)
    weight = torch.ones(last - first)
    fade = (torch.arange(BLEND) + 0.5) / BLEND
    if start > 0:
        weight[:BLEND] *= fade
    if stop < size:
        weight[-BLEND:] *= fade.flip(0)
    before, after = max(first - halo, 0) // multiple_of * multiple_of, min(last + halo, size)
    return _Span(slice(before, after), slice(first, last), slice(first - before, last - before), weight)
