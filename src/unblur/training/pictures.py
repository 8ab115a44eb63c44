"""Pictures for training: decoded when they are needed; random areas are cut out of them."""

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
_TRIES = 2  # random places; the one with most detail is taken, since little is learned from a clear sky


class PictureCache:
    """Decoded pictures by path. Those used longest ago are dropped when the cache exceeds a number of bytes.

    A cache is empty after pickling, so that each process has its own pictures.
    """

    def __init__(self, limit: int = CACHE) -> None:
        """An empty cache; `limit` is in bytes. The last picture is kept even if it is larger than the limit."""
        self._limit, self._bytes = limit, 0
        self._pictures: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __reduce__(self) -> tuple[type[PictureCache], tuple[int]]:
        return PictureCache, (self._limit,)

    def shared_by(self, processes: int) -> PictureCache:
        """An empty cache with the share of the limit that each of so many processes may use."""
        return PictureCache(self._limit // max(processes, 1))

    def read(self, path: Path) -> np.ndarray:
        """A picture, upright and at full size: `(H, W, 3)`, uint8 or uint16 as in the file.

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
    """Cut the same random square out of several pictures of one scene, and rotate and mirror it at random.

    Of two random places, the one with more detail in the first picture is taken. Rotations are by multiples of 90
    degrees.

    Args:
        pictures: N pictures `(H, W, 3)`, uint8 or uint16, all of one size. Too small ones are padded by reflection.
        side: side of the square in pixels.
        generator: the random generator.
        smallest_scale: the pictures are reduced to a random scale between this and 1 (Lanczos), which makes them
            sharper and their details finer. A lower value gives more variety.

    Returns:
        `(N, 3, side, side)` float32 in [0, 1].
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
    """The mean absolute difference of neighbouring pixels, in every second row of the green channel."""
    return float(np.abs(np.diff(area[::2, :, 1].astype(np.float32), axis=1)).mean())


def _reduced(area: np.ndarray, side: int) -> Tensor:
    """`(S, S, 3)` levels -> `(3, side, side)` in [0, 1]."""
    planes = area.transpose(2, 0, 1).astype(np.float32) / np.iinfo(area.dtype).max
    if area.shape[0] != side:
        lanczos = Image.Resampling.LANCZOS
        planes = np.stack([np.asarray(Image.fromarray(plane).resize((side, side), lanczos)) for plane in planes])
    return torch.from_numpy(planes).clamp(0, 1)
