"""Pictures to train on: decoded when they are needed, and areas cut out of them at random."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unblur.image_io import ImageFileError, read_photo
from unblur.types import UnblurError

CACHE = 4 << 30  # bytes
_TRIES = 2  # places in a picture, of which the one with more detail is taken: a clear sky teaches little


class PictureCache:
    """Decoded pictures by path. Those used longest ago are dropped when all together exceed a number of bytes.

    A pickled cache is empty when it comes back: each process decodes for itself.
    """

    def __init__(self, limit: int = CACHE) -> None:
        """Begin empty; `limit` is in bytes. A picture that is larger by itself is kept until the next one is read."""
        self._limit, self._bytes = limit, 0
        self._pictures: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __reduce__(self) -> tuple[type[PictureCache], tuple[int]]:
        return PictureCache, (self._limit,)

    def shared_by(self, processes: int) -> PictureCache:
        """An empty cache of which so many processes may have one each."""
        return PictureCache(self._limit // max(processes, 1))

    def read(self, path: Path) -> np.ndarray:
        """A picture as it is displayed, at full size: `(H, W, 3)`, uint8 or uint16 as in the file.

        Raises:
            UnblurError: when the file cannot be read.
        """
        if path in self._pictures:
            self._pictures.move_to_end(path)
            return self._pictures[path]
        picture = self._pictures[path] = _decode(path)
        self._bytes += picture.nbytes
        while self._bytes > self._limit and len(self._pictures) > 1:
            self._bytes -= self._pictures.popitem(last=False)[1].nbytes
        return picture


def _decode(path: Path) -> np.ndarray:
    try:
        photo = read_photo(path)
    except ImageFileError as error:
        raise UnblurError(f"{error} Or take it out of the folder.") from None
    dtype = np.uint8 if photo.depth == "uint8" else np.uint16
    levels = np.rint(photo.pixels * np.iinfo(dtype).max).astype(dtype)  # (H, W, 1 or 3)
    return np.repeat(levels, 3 // levels.shape[2], axis=2)


def cut_area(
    pictures: Sequence[np.ndarray], side: int, generator: torch.Generator, *, smallest_scale: float = 1.0
) -> Tensor:
    """The same square of several pictures of one scene, turned by quarters and mirrored at random.

    Args:
        pictures: `(H, W, 3)` uint8 or uint16, all of one size. Those too small are mirrored at their borders.
        side: of the square in pixels.
        generator: where all randomness comes from.
        smallest_scale: the pictures are reduced to a scale between this and 1 (Lanczos), which makes them sharper and
            their details finer; less makes for more variety.

    Returns:
        `(N, 3, side, side)` in [0, 1]; of two places, the one with more detail in the first picture.
    """
    smallest = min(pictures[0].shape[:2])
    scale = smallest_scale + (1 - smallest_scale) * float(torch.rand((), generator=generator))
    taken = min(math.ceil(side / scale), max(smallest, side))  # pixels before the reduction
    if smallest < taken:
        missing = [(0, max(taken - length, 0)) for length in pictures[0].shape[:2]]
        pictures = [np.pad(picture, [*missing, (0, 0)], mode="symmetric") for picture in pictures]
    places = [_place(pictures[0], taken, generator) for _ in range(_TRIES)]
    place = max(places, key=lambda place: _detail(pictures[0][place]))
    area = torch.stack([_reduced(picture[place], side) for picture in pictures])  # (N, 3, side, side)
    turns, mirrored = int(torch.randint(4, (), generator=generator)), torch.rand((), generator=generator) < 0.5
    area = area.rot90(turns, (-2, -1))
    return (area.flip(-1) if mirrored else area).contiguous()


def _place(picture: np.ndarray, side: int, generator: torch.Generator) -> tuple[slice, slice]:
    top, left = (int(torch.randint(length - side + 1, (), generator=generator)) for length in picture.shape[:2])
    return slice(top, top + side), slice(left, left + side)


def _detail(area: np.ndarray) -> float:
    """The mean difference of neighbouring pixels, in every other row and the green channel."""
    return float(np.abs(np.diff(area[::2, :, 1].astype(np.float32), axis=1)).mean())


def _reduced(area: np.ndarray, side: int) -> Tensor:
    """`(S, S, 3)` levels -> `(3, side, side)` in [0, 1]."""
    planes = area.transpose(2, 0, 1).astype(np.float32) / np.iinfo(area.dtype).max
    if area.shape[0] != side:
        lanczos = Image.Resampling.LANCZOS
        planes = np.stack([np.asarray(Image.fromarray(plane).resize((side, side), lanczos)) for plane in planes])
    return torch.from_numpy(planes).clamp(0, 1)
