"""Find the photos of folders and of patterns, and give each result its place in the output folder.

A result has the path in the output folder that the photo has in its own folder, and the same name: `DIR/a/b.jpg` goes
to `OUT/a/b.jpg`. Of several folders, each has a folder in OUT. A photo in a format that is not written keeps its whole
name, and the suffix of the format that is written is added: `DIR/c.gif` goes to `OUT/c.gif.png`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unblur.image_io import ImageFileError
from unblur.image_io.read import PHOTO_SUFFIXES
from unblur.image_io.write import written_suffix
from unblur.types import UnblurError


@dataclass(frozen=True, order=True)
class Found:
    """A photo that was found.

    Attributes:
        name: path of the result in the output folder, with forward slashes; unique, so the photo is known by it.
        photo: the file.
    """

    name: str
    photo: Path


def is_pattern(path: Path) -> bool:
    """Whether the path is a pattern such as `photos/**/*.jpg`, and not a file of that name."""
    return glob.has_magic(str(path)) and not path.exists()


def _raise(error: UnblurError) -> None:
    raise error


def find_photos(
    sources: Sequence[Path], out: Path, refuse: Callable[[UnblurError], None] = _raise, own: Collection[str] = ()
) -> list[Found]:
    """All photos of the sources, sorted by the names of their results.

    Folders are searched with all their subfolders. Files and folders whose names begin with a dot, files whose suffix
    is not that of a photo, what is no file (pipes, devices), and the output folder are left out. A pattern matches as
    in a shell, and `**` matches any number of folders; a photo that it reaches by several links is found once.

    Args:
        sources: folders, patterns and photos.
        out: the output folder, which may lie in a source.
        refuse: called with what is wrong with a photo or a subfolder, which is then left out.
        own: names in the output folder that no folder with results can have.

    Raises:
        UnblurError: a source that does not exist or cannot be read, no photo at all, two photos of the same name from
            several sources, or an output folder that is a source.
    """
    found: dict[str, Found] = {}
    several = len(sources) > 1
    for source in sources:
        for photo, relative in _of_source(source, out, refuse):
            place = PurePosixPath(relative.as_posix())
            if several and source.is_dir():
                place = PurePosixPath(source.resolve().name) / place
            if place.parts[0] in own:
                refuse(
                    ImageFileError(photo, f"its result cannot be in a folder '{place.parts[0]}'. Rename the folder.")
                )
                continue
            name = str(place.with_name(place.name + written_suffix(photo)))
            other = found.setdefault(name, Found(name, photo))
            if _is_same(other.photo, photo):
                continue
            both = UnblurError(f"{other.photo} and {photo} would both go to {out / name}. Restore them one by one.")
            if several or bool(written_suffix(photo)) == bool(written_suffix(other.photo)):
                raise both
            if not written_suffix(photo):
                found[name] = Found(name, photo)  # the one that keeps its name
            refuse(both)
    if not found:
        raise UnblurError(f"{', '.join(map(str, sources))}: there is no photo. Photos are known by their suffix.")
    return sorted(found.values())


def _of_source(source: Path, out: Path, refuse: Callable[[UnblurError], None]) -> Iterator[tuple[Path, Path]]:
    """The photos of one source, each with its path relative to the source."""
    if is_pattern(source):
        fixed = Path(*_fixed_parts(source))
        left_out = _results_inside(fixed, out)
        seen: set[Path] = set()
        hits = map(Path, glob.glob(str(source), recursive=True))  # noqa: PTH207, Path.glob takes no absolute pattern
        for photo in sorted(hits, key=lambda hit: (len(hit.parts), str(hit))):  # of several ways, the shortest
            if _is_photo(photo.name) and photo.is_file() and not _within(photo, left_out):
                if photo.resolve() in seen:
                    continue
                seen.add(photo.resolve())
                yield photo, photo.relative_to(fixed)
    elif source.is_dir():
        yield from _of_folder(source, _results_inside(source, out), refuse)
    elif source.is_file():
        yield source, Path(source.name)
    elif source.exists():
        raise ImageFileError(source, "this is not an ordinary file. Copy the picture to a disk first.")
    else:
        raise ImageFileError(source, "there is no such file or folder. Check the name.")


def _of_folder(
    folder: Path, left_out: Path | None, refuse: Callable[[UnblurError], None]
) -> Iterator[tuple[Path, Path]]:
    def say(error: OSError) -> None:
        said = ImageFileError(Path(error.filename), f"this folder cannot be read ({error.strerror}).")
        if Path(error.filename) == folder:
            raise said
        refuse(said)

    for parent, folders, files in os.walk(folder, onerror=say):
        here = Path(parent)
        folders[:] = sorted(one for one in folders if not one.startswith(".") and not _within(here / one, left_out))
        for name in files:
            if _is_photo(name) and _may_be_file(here / name):
                yield here / name, (here / name).relative_to(folder)


def _may_be_file(path: Path) -> bool:
    """Whether this is no pipe or device, but a file, a broken link, or in a folder that may not be looked into."""
    try:
        return path.is_file() or not path.exists()
    except OSError:
        return True  # reading it will say why


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:
        return False


def _results_inside(source: Path, out: Path) -> Path | None:
    """The output folder if it lies in a source, where it must not be searched; else None.

    Raises:
        UnblurError: when it is the source.
    """
    if source.resolve() == out.resolve():
        raise UnblurError(f"{source}: the results cannot go into the folder of the photos. Name another with -o.")
    return out.resolve() if out.resolve().is_relative_to(source.resolve()) else None


def _within(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.resolve().is_relative_to(folder)


def _fixed_parts(pattern: Path) -> list[str]:
    """The folders at the beginning of a pattern that hold no wildcard."""
    parts: list[str] = []
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _is_photo(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in PHOTO_SUFFIXES
