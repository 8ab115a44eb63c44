"""Restore a large picture in overlapping tiles, with limited memory and without visible seams.

Each tile is cropped with a margin (the halo), which is removed from the result, since pixels near the border of the
crop are restored differently. Neighbouring tiles also overlap by `BLEND` pixels, where they are blended, so that small
differences between them form no visible edge.
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
"""Largest number of pixels of a picture that is restored as a whole; chosen by hand."""

TILE = 768
"""Largest side of a tile in pixels, without its halo.

From 512 to 1024 the time of most methods is the same, but the memory grows.
"""

BLEND = 16
"""Width in pixels of the strip in which neighbouring tiles are blended; chosen by hand."""


def halo_for(psf: Tensor | None, reach: int = 0) -> int:
    """Compute the width of a tile's halo in pixels: 1.5 times the PSF's side, at least 32 and at least `reach`.

    Args:
        psf: the PSF that the tile is restored with, `(..., h, w)`; None: there is none.
        reach: `Card.reach` of the method: distance in pixels from which other pixels influence a restored one.
    """
    # With 1.5 sides the PSNR differs by 0.1 dB from that of the whole picture (PSF of 31 px, hyper_laplacian).
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

    Several tiles are restored at once, with one thread each.

    Args:
        restore: restores the observation of a tile: `(B, C, h, w)`. It is called in several threads. Its `Progress` is
            used only to stop it.
        observation: all its pictures are cropped alike; the PSF and other fields are passed on unchanged.
        halo: width of the halo in pixels; higher agrees better with the whole picture, and is slower.
        tile: largest side of a tile in pixels, at least `2 * BLEND`; higher needs more memory.
        multiple_of: the first row and column of each tile are multiples of this. For a network that reduces the
            picture by this factor, so that it groups the same pixels as in the whole picture.
        progress: advanced once per tile.

    Returns:
        `(B, C, H, W)`. In addition, one tile per thread is in memory.

    Raises:
        Cancelled: after `progress.cancel()`.
    """
    return tiled_by_place(
        lambda cut, stop, _: restore(cut, stop),
        observation,
        halo=halo,
        tile=tile,
        multiple_of=multiple_of,
        progress=progress,
    )


def tiled_by_place(
    restore: Callable[[Observation, Progress, tuple[slice, slice]], Tensor],
    observation: Observation,
    *,
    halo: int,
    tile: int = TILE,
    multiple_of: int = 1,
    progress: Progress | None = None,
) -> Tensor:
    """As `tiled`, for what differs from place to place: `restore` is also given the rows and columns of its tile."""
    # One thread per tile takes half the time, on two cores, of all threads for each operation of one tile.
    progress = progress or Progress()
    picture = next(iter(observation.pictures().values()))
    rows, columns = (_cut(size, max(tile, 2 * BLEND), halo, multiple_of) for size in picture.shape[-2:])
    places = [(row, column) for row in rows for column in columns]
    result: Tensor | None = None
    stop = Progress()

    def work(row: _Span, column: _Span) -> Tensor:
        cut = observation.with_pictures(lambda whole: whole[..., row.cut, column.cut].contiguous())
        restored = restore(cut, stop, (row.place, column.place))[..., row.kept, column.kept]
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
        except BaseException:  # also for Ctrl-C: do not restore the remaining tiles
            stop.cancel()
            pool.shutdown(cancel_futures=True)
            raise
    assert result is not None
    return result


def _await(part: Future[Tensor], progress: Progress) -> Tensor:
    """Wait for the result of `part`; raise `Cancelled` after `progress.cancel()`."""
    while not wait([part], timeout=0.1).done:
        progress.advance(0)
    return part.result()


@dataclass(frozen=True)
class _Span:
    """One tile along one axis.

    Attributes:
        cut: pixels of the picture to crop, including the halo.
        place: pixels of the picture that the tile contributes to.
        kept: the same pixels, as indices into the crop.
        weight: weights of these pixels, `(n,)`: 1, falling to 0 at a neighbour; the weights of all tiles sum to 1.
    """

    cut: slice
    place: slice
    kept: slice
    weight: Tensor


def _cut(size: int, tile: int, halo: int, multiple_of: int) -> list[_Span]:
    """Divide a line of `size` pixels into tiles of nearly equal length."""
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
