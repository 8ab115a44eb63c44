"""The manifest of an output folder: a text file with one JSON object per line, one line for each photo that was done.

A line is written, and has reached the disk, before the result of its photo gets its place. So a run that is ended at
any moment leaves no result without a line. If a photo has several lines, the last one counts.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import IO, Any, get_args, get_origin, get_type_hints

from unblur.image_io import ImageFileError
from unblur.types import UnblurError

MANIFEST = "manifest.jsonl"
PRIVATE = ".unblur"
"""Folder in the output folder, for unfinished files and the pictures of the report."""


@dataclass(frozen=True)
class Record:
    """What became of one photo: a line of the manifest.

    Attributes:
        input: the photo, as it was named.
        path: its absolute path; "" in manifests without it.
        output: path of the result in the output folder, with forward slashes.
        method: the chain of methods; "" after an error.
        reason: why this method.
        psf_size: the longer side of the PSF in pixels; None if there is no PSF.
        psf: the PSF in a few words.
        noise_sigma: noise of the photo on the [0, 1] scale; None if it was not measured.
        seconds: from reading to writing.
        changed: False if the result is the photo as it was.
        notes: sentences for the user; the first says why, if nothing was changed.
        error: why there is no result; None if there is one.
        pixels: width times height; None if the photo could not be read.
        memory_mb: largest memory of the worker process until then, in megabytes; None if the system does not say.
        input_bytes: size of the photo's file; None if it could not be found.
        input_mtime_ns: time of its last change, in nanoseconds.
        output_bytes: size of the result's file.
        output_mtime_ns: time at which it was written, in nanoseconds.
        options: what was asked for, with the checksums of the files that were named, and the number of threads.
        version: versions of unblur and torch.
        bfloat16: whether networks computed in bfloat16 where the setting `precision` is "auto"; None: not recorded.
    """

    input: str
    output: str
    method: str = ""
    reason: str = ""
    psf_size: int | None = None
    psf: str | None = None
    noise_sigma: float | None = None
    seconds: float = 0.0
    changed: bool = False
    notes: list[str] = field(default_factory=list)
    error: str | None = None
    pixels: int | None = None
    memory_mb: int | None = None
    input_bytes: int | None = None
    input_mtime_ns: int | None = None
    output_bytes: int | None = None
    output_mtime_ns: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    bfloat16: bool | None = None
    path: str = ""

    def line(self) -> str:
        """The record as one line of JSON, without the line break."""
        return json.dumps(asdict(self))  # in ASCII, so also for file names that are not valid UTF-8

    @staticmethod
    def of_line(line: str) -> Record | None:
        """The record of a line; None for a line that is cut off or was made by something else."""
        try:
            values = json.loads(line)
            known = {one.name for one in fields(Record)}
            record = Record(**{key: value for key, value in values.items() if key in known})
        except (ValueError, TypeError, AttributeError, RecursionError):
            return None
        return record if record.has_right_types() else None

    def has_right_types(self) -> bool:
        """Whether the fields hold what the annotations say."""
        return all(isinstance(getattr(self, name), kinds) for name, kinds in _KINDS.items())


def _kinds(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation allows in JSON, where a float may be written as a whole number."""
    parts = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    kinds = [get_origin(part) or part for part in parts]
    return (*kinds, int) if float in kinds else tuple(kinds)


_KINDS = {name: _kinds(annotation) for name, annotation in get_type_hints(Record).items()}


def read_records(out: Path) -> Iterator[Record]:
    """The records in the manifest of an output folder, in the order in which they were written; none without one.

    Raises:
        ImageFileError: when the manifest cannot be read.
    """
    path = out / MANIFEST
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            for line in file:
                record = Record.of_line(line)
                if record is not None:
                    yield record
    except FileNotFoundError:
        return
    except OSError as error:
        raise ImageFileError(path, f"it cannot be read ({error.strerror}). Check the disk.") from error


Stamp = tuple[int | None, int | None]
"""Size in bytes and time of the last change of a file in nanoseconds; None, None: there is no file."""


def stamp(path: Path) -> Stamp:
    """The stamp of a file."""
    try:
        status = path.stat()
    except OSError:
        return None, None
    return status.st_size, status.st_mtime_ns


@dataclass
class History:
    """The records of one photo.

    Attributes:
        last: the record that counts.
        results: size and time of all results that the records speak of, and the absolute path of the photo of each.
    """

    last: Record
    results: dict[Stamp, str]


def read_histories(out: Path) -> dict[str, History]:
    """The history of each photo, by the name of its result."""
    histories: dict[str, History] = {}
    for record in read_records(out):
        history = histories.setdefault(record.output, History(record, {}))
        history.last = record
        if record.output_bytes is not None:
            history.results[record.output_bytes, record.output_mtime_ns] = record.path
    return histories


class Manifest:
    """The manifest of a run that writes. Only one process at a time can have that of a folder.

    Used as a context. On entry, unfinished files of a run that was ended are removed.
    """

    def __init__(self, out: Path, *, new: bool, check: Callable[[], None] = lambda: None) -> None:
        """Begin or continue the manifest in the folder `out`, which is made.

        Args:
            out: the output folder.
            new: True begins a new manifest, even where there is one.
            check: called when no other process can write any more, and before anything is written; it may raise.

        Raises:
            UnblurError: another process writes into the folder, or it cannot be written.
        """
        self.out, self.private = out, out / PRIVATE
        self.parts = self.private / "parts"
        try:
            for own in (self.private, out / MANIFEST):
                if own.is_symlink():
                    raise UnblurError(f"{own}: this is a link, which may lead to a photo. Remove it.")
            self.private.mkdir(parents=True, exist_ok=True)
            self._lock = (self.private / "lock").open("a")
            if not _locked(self._lock):
                raise UnblurError(f"{out}: another unblur writes into this folder. Wait for its end, or name another.")
            check()
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(exist_ok=True)
            self._file = (out / MANIFEST).open("wb" if new else "ab")
            self._end_torn_line()
        except OSError as error:
            raise UnblurError(f"{out}: not writable ({error.strerror}). Name another folder with -o.") from None

    def __enter__(self) -> Manifest:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.parts, ignore_errors=True)
        self._file.close()
        self._lock.close()

    def add(self, record: Record) -> None:
        """Append a record; it is on the disk when this returns.

        Raises:
            UnblurError: when it cannot be written; the run should end then.
        """
        try:
            self._file.write(record.line().encode("ascii") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UnblurError(
                f"{self.out / MANIFEST}: not written ({error.strerror}). Make room; --resume continues."
            ) from None

    def _end_torn_line(self) -> None:
        """A line that was cut off gets an end, so that the next one stands alone."""
        path = self.out / MANIFEST
        with path.open("rb") as file:
            if path.stat().st_size and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                self._file.write(b"\n")


def _locked(file: IO[str]) -> bool:
    """Try to lock a file for this process; the system ends the lock with the process.

    True also where the system has no such locks.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
