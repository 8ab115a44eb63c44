"""Sharp photos, and the samples that are made of them on the fly.

Sample number i of a run is made of dice thrown with the run's seed and i, and of nothing else. So it does not matter
which process makes it, on which device it is used, or whether the run was interrupted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from unblur.contract import Trainable
from unblur.image_io import ImageFileError, read_photo
from unblur.types import UnblurError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
_MEMORY = 4 << 30  # bytes that all decoded photos may take, those to validate with apart
_SMALLEST_SCALE = 0.5  # photos are shrunk to this at the most, which makes them sharper and their details finer
_TRIES = 2  # places in a photo of which the one with more detail is taken: a sky teaches little
_VALIDATION_SEED = 2**31  # far from any run's own


@dataclass(frozen=True)
class Photos:
    """The sharp photos of a folder and its subfolders, sorted.

    Those whose name ends in 0 or 1 (before the suffix) are for validation and never trained on.
    """

    training: list[Path]
    validation: list[Path]

    @classmethod
    def of(cls, folder: Path, *, out: Path | None = None) -> Photos:
        """Look for photos, but not in hidden folders. To `out` go pictures that are none to learn from.

        Raises:
            UnblurError: no such folder, `out` in it, or nothing to train on, or to validate with.
        """
        if not folder.is_dir():
            raise UnblurError(f"{folder}: no such folder. --photos takes a folder of sharp photos.")
        if out is not None and folder.resolve() in (out.resolve(), *out.resolve().parents):
            raise UnblurError(f"{out} lies in {folder}, where its pictures would be taken for sharp photos. Move -o.")
        paths = sorted(
            path
            for path in folder.rglob("*")
            if path.suffix.lower() in _SUFFIXES
            and path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        validation = [path for path in paths if path.stem[-1] in "01"]
        training = [path for path in paths if path.stem[-1] not in "01"]
        if not training or not validation:
            raise UnblurError(
                f"{folder}: {len(training)} photos to train on and {len(validation)} to validate with (those whose "
                "name ends in 0 or 1); there must be some of both."
            )
        return cls(training, validation)

    def digest(self) -> str:
        """Other photos, another digest: of names and sizes."""
        facts = [f"{path.name} {path.stat().st_size}" for path in (*self.training, *self.validation)]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


class Samples(Dataset[dict[str, Tensor]]):
    """Sample number i, for any i from 0."""

    def __init__(self, paths: list[Path], trainable: Trainable, seed: int) -> None:
        """Decode the photos, shrunk if there is no room for all of them; workers that are forked share them."""
        self._photos = [_decode(path, _MEMORY / len(paths)) for path in paths]
        self._trainable, self._seed = trainable, seed

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Made of photo, place, scale and blur that `index` draws."""
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, index))
        photo = self._photos[int(torch.randint(len(self._photos), (), generator=generator))]
        return self._trainable.observe(sharp_area(photo, self._trainable.area, generator), generator)


def _decode(path: Path, room: float) -> np.ndarray:
    """`(H, W, 3)` uint8, upright, in at most `room` bytes."""
    try:
        pixels = read_photo(path).pixels  # (H, W, 1 or 3) in [0, 1]
    except ImageFileError as error:
        raise UnblurError(f"{error} Or take it out of the folder of photos.") from None
    levels = np.repeat(np.rint(pixels * 255).astype(np.uint8), 3 // pixels.shape[2], axis=2)
    factor = math.ceil(math.sqrt(levels.nbytes / room))
    return levels if factor == 1 else np.asarray(Image.fromarray(levels).reduce(factor))


def mixed_seed(seed: int, index: int) -> int:
    """One seed of two numbers, unlike its neighbours' (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (seed * 0x9E3779B97F4A7C15 + index + 1) % 2**64
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


def sharp_area(photo: np.ndarray, side: int, generator: torch.Generator) -> Tensor:
    """A square of a photo `(H, W, 3)` uint8, shrunk, turned and mirrored at random: `(3, side, side)` in [0, 1].

    A photo that is too small is mirrored at its borders.
    """
    smallest = min(photo.shape[:2])
    scale = _SMALLEST_SCALE + (1 - _SMALLEST_SCALE) * float(torch.rand((), generator=generator))
    taken = min(math.ceil(side / scale), max(smallest, side))
    if smallest < taken:
        short = [(0, max(taken - length, 0)) for length in photo.shape[:2]]
        photo = np.pad(photo, [*short, (0, 0)], mode="symmetric")
    places = [_place(photo, taken, generator) for _ in range(_TRIES)]
    busiest = max((photo[place] for place in places), key=_detail)
    area = torch.from_numpy(busiest.copy()).permute(2, 0, 1).float() / 255
    if taken != side:
        area = F.interpolate(area[None], size=(side, side), mode="bilinear", antialias=True)[0]
    turns, mirrored = int(torch.randint(4, (), generator=generator)), torch.rand((), generator=generator) < 0.5
    area = area.rot90(turns, (-2, -1))
    return (area.flip(-1) if mirrored else area).contiguous()


def _place(photo: np.ndarray, side: int, generator: torch.Generator) -> tuple[slice, slice]:
    top, left = (int(torch.randint(length - side + 1, (), generator=generator)) for length in photo.shape[:2])
    return slice(top, top + side), slice(left, left + side)


def _detail(area: np.ndarray) -> float:
    """How much neighbouring pixels differ, judged by every other row and the green channel."""
    return float(np.abs(np.diff(area[::2, :, 1].astype(np.int16), axis=1)).mean())


def training_batches(
    samples: Samples, *, batch: int, steps: range, rank: int, ranks: int, workers: int
) -> Iterator[dict[str, Tensor]]:
    """The batches of `steps`, of which each rank gets its own part.

    Step t is samples t * batch to (t + 1) * batch; with R ranks, the first R-th of them is rank 0's, and so on.
    """
    own = batch // ranks
    indices = [[step * batch + rank * own + i for i in range(own)] for step in steps]
    yield from DataLoader(
        samples,
        batch_sampler=indices,
        num_workers=workers,
        persistent_workers=False,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="fork" if workers else None,
    )


def validation_batch(photos: Photos, trainable: Trainable, count: int) -> dict[str, Tensor]:
    """`count` observations of validation photos, the same in every run."""
    samples = Samples(photos.validation, trainable, _VALIDATION_SEED)
    return torch.utils.data.default_collate([samples[index] for index in range(count)])
