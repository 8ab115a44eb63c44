"""Sources of samples: folders of sharp photos, of pairs of a blurry and a sharp picture, or of frames.

Each source has a training part and a validation part. The division depends only on the names of the files.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from unblur.contract import SourceKind, Trainable
from unblur.imaging.synthesis.drawn import KINDS, DrawnKind, draw
from unblur.training.pictures import PictureCache, cut_area
from unblur.types import UnblurError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"}
_SMALLEST_SCALE = 0.5  # for photos and frames; reducing a pair would change its blur
_HELD_OUT = 10  # every tenth scene or clip is for validation


@dataclass(frozen=True)
class Source(ABC):
    """A folder of pictures for training. It can be pickled; the decoded pictures are left out then.

    Attributes:
        training: the entries for training; a sample is made from one entry.
        validation: the entries for validation.
        cache: decoded pictures.
    """

    training: Sequence[Any]
    validation: Sequence[Any]
    cache: PictureCache = field(default_factory=PictureCache, compare=False)

    kind: ClassVar[SourceKind]

    @abstractmethod
    def sample(self, entry: Any, area: int, generator: torch.Generator) -> dict[str, Tensor]:
        """A sample from an entry, with pictures of side `area`, as the input of `Trainable.observe`."""

    @abstractmethod
    def files(self) -> Iterator[Path]:
        """All files, in the order of the entries."""

    def observed(self, entry: Any, trainable: Trainable, generator: torch.Generator) -> dict[str, Tensor]:
        """The tensors that the networks are trained on, made from an entry."""
        return trainable.observe(self.sample(entry, trainable.area, generator), generator)

    def shared_by(self, processes: int) -> Source:
        """The source with a cache of the size that each of so many processes may use."""
        return replace(self, cache=self.cache.shared_by(processes))

    def digest(self) -> str:
        """A digest of the kind of source, its options, and the names and sizes of its files."""
        return hashlib.sha256("\n".join(self._facts()).encode()).hexdigest()[:16]

    def _facts(self) -> Iterator[str]:
        yield self.kind
        for path in self.files():
            yield f"{path.parent.name}/{path.name} {path.stat().st_size}"


class Photos(Source):
    """Sharp photos; those whose name ends in 0 or 1 (before the suffix) are for validation.

    An entry is the path of a photo or, for training only, a kind of picture that is drawn anew for each sample.
    """

    kind = "photos"

    @classmethod
    def of(cls, folder: Path, *, drawn: float = 0.0, out: Path | None = None) -> Photos:
        """The photos of a folder and its subfolders, without hidden ones.

        Args:
            folder: the folder of photos.
            drawn: share of the training samples that are drawn at random, with leaves or text, from 0 to below 1. With
                few photos the true share differs, since it is a ratio of numbers of entries.
            out: the folder of results, which must not lie in `folder`.

        Raises:
            UnblurError: when `folder` does not exist, `out` lies in it, or there are no photos for training or for
                validation.
        """
        paths = _pictures_in(folder, "--photos", out)
        validation = [path for path in paths if path.stem[-1] in "01"]
        training = [path for path in paths if path.stem[-1] not in "01"]
        if not training or not validation:
            raise UnblurError(
                f"{folder}: {len(training)} photos for training and {len(validation)} for validation (those whose name "
                "ends in 0 or 1); there must be some of both."
            )
        if not 0 <= drawn < 1:
            raise UnblurError(f"--drawn is a share of the samples, from 0 to below 1, not {drawn:g}.")
        # An entry is chosen at random, so a share of the entries is a share of the samples.
        each = math.ceil(drawn / (1 - drawn) * len(training) / len(KINDS))
        return cls([*training, *each * KINDS], validation)

    def sample(self, entry: Path | DrawnKind, area: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`sharp`, `(3, area, area)`."""
        if not isinstance(entry, Path):
            return {"sharp": draw(entry, area, generator)}
        picture = self.cache.read(entry)
        return {"sharp": cut_area([picture], area, generator, smallest_scale=_SMALLEST_SCALE)[0]}

    def files(self) -> Iterator[Path]:
        """See `Source`."""
        yield from (entry for entry in (*self.training, *self.validation) if isinstance(entry, Path))

    def _facts(self) -> Iterator[str]:
        yield from super()._facts()
        yield from (entry for entry in self.training if not isinstance(entry, Path))


class Pairs(Source):
    """Pairs of pictures in the layout of the GoPro data set: `SCENE/blur/*.png`, `SCENE/sharp/*.png`.

    Every tenth scene is for validation; if there is only one scene, its last tenth. If there is a folder `train`, only
    that is read, since `test` is for benchmarks. An entry holds the paths of the sharp and the blurry picture.
    """

    kind = "pairs"

    @classmethod
    def of(cls, folder: Path, *, out: Path | None = None) -> Pairs:
        """The pairs of a folder and its subfolders.

        Raises:
            UnblurError: when `folder` does not exist, holds no pairs, or a blurry picture has no sharp one.
        """
        scenes: dict[Path, list[tuple[Path, Path]]] = {}
        for blurry in _pictures_in(_training_part(folder), "--pairs", out):
            if blurry.parent.name != "blur":
                continue
            sharp = blurry.parent.with_name("sharp") / blurry.name
            if not sharp.is_file():
                raise UnblurError(f"{blurry}: there is no sharp picture {sharp} to go with it.")
            scenes.setdefault(blurry.parent, []).append((sharp, blurry))
        training, validation = _split(
            list(scenes.values()), 1, f"{folder}: no pairs SCENE/blur/*.png, SCENE/sharp/*.png"
        )
        return cls([pair for scene in training for pair in scene], [pair for scene in validation for pair in scene])

    def sample(self, entry: tuple[Path, Path], area: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`sharp` and `blurry`, `(3, area, area)`."""
        sharp, blurry = _all_of_one_size(self.cache, entry)
        sharp, blurry = cut_area([sharp, blurry], area, generator)
        return {"sharp": sharp, "blurry": blurry}

    def files(self) -> Iterator[Path]:
        """See `Source`."""
        for pair in (*self.training, *self.validation):
            yield from pair


@dataclass(frozen=True)
class Frames(Source):
    """Folders of consecutive frames, in the order of their names.

    Every tenth folder is for validation; if there is only one folder, its last tenth. If there is a folder `train`,
    only that is read. An entry holds the paths of the frames of one folder.

    Attributes:
        count: number of frames in a sample.
    """

    count: int = 1
    kind = "frames"

    @classmethod
    def of(cls, folder: Path, count: int, *, out: Path | None = None) -> Frames:
        """The frames of a folder and its subfolders, for samples of `count` frames.

        Raises:
            UnblurError: when `folder` does not exist, or one of its folders has fewer frames.
        """
        clips: dict[Path, list[Path]] = {}
        for path in _pictures_in(_training_part(folder), "--frames", out):
            clips.setdefault(path.parent, []).append(path)
        training, validation = _split(list(clips.values()), count, f"{folder}: not enough folders of frames")
        for clip in (*training, *validation):
            if len(clip) < count:
                raise UnblurError(
                    f"{clip[0].parent}: {len(clip)} frames, and a sample takes {count}. Remove this folder."
                )
        return cls(training, validation, count=count)

    def sample(self, entry: list[Path], area: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`frames`, `(count, 3, area, area)`."""
        first = int(torch.randint(len(entry) - self.count + 1, (), generator=generator))
        frames = _all_of_one_size(self.cache, entry[first : first + self.count])
        return {"frames": cut_area(frames, area, generator, smallest_scale=_SMALLEST_SCALE)}

    def files(self) -> Iterator[Path]:
        """See `Source`."""
        for clip in (*self.training, *self.validation):
            yield from clip


_T = TypeVar("_T")


def _split(groups: list[list[_T]], least: int, fault: str) -> tuple[list[list[_T]], list[list[_T]]]:
    """Divide groups into training and validation. A single group is divided; `least` entries are for validation."""
    if len(groups) == 1:
        (only,) = groups
        held_out = max(len(only) // _HELD_OUT, least)
        groups = [only[-held_out:], only[:-held_out]]
    validation = groups[::_HELD_OUT]
    training = [group for number, group in enumerate(groups) if number % _HELD_OUT]
    if not training or not training[0]:
        raise UnblurError(f"{fault}. There must be some for training and some for validation.")
    return training, validation


def _training_part(folder: Path) -> Path:
    return folder / "train" if (folder / "train").is_dir() else folder


def _all_of_one_size(cache: PictureCache, paths: Sequence[Path]) -> list[Any]:
    pictures = [cache.read(path) for path in paths]
    for path, picture in zip(paths, pictures, strict=True):
        if picture.shape != pictures[0].shape:
            raise UnblurError(f"{path} and {paths[0]}: the two differ in size.")
    return pictures


def _pictures_in(folder: Path, option: str, out: Path | None) -> list[Path]:
    """The sorted paths of the pictures in a folder and its subfolders, without hidden files and folders."""
    if not folder.is_dir():
        raise UnblurError(f"{folder}: no such folder. {option} names a folder of pictures.")
    if out is not None and folder.resolve() in (out.resolve(), *out.resolve().parents):
        raise UnblurError(
            f"{out} lies in {folder}, so its pictures would be used for training. Name another folder with -o."
        )
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
