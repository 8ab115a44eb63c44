"""`unblur restore -`: a photo from standard input, or a result to standard output."""

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from unblur.cli.console import progress_bar
from unblur.types import Observation, UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.options import Options
    from unblur.pipeline.restore import FileResult

STREAM = Path("-")


@dataclass(frozen=True)
class Ends:
    """Where one photo comes from and where its result goes; `STREAM` is standard input or output.

    Attributes:
        photo: the photo.
        output: the result; None: standard output for a photo from standard input.
        noisy: the short shot of a pair.
        keep: further files that are never replaced.
        overwrite: whether an output file may be replaced.
    """

    photo: Path
    output: Path | None
    noisy: Path | None = None
    keep: tuple[Path, ...] = ()
    overwrite: bool = False

    @property
    def place(self) -> Path:
        """Where the result goes."""
        return STREAM if self.output is None else self.output


def restore_stream(ends: Ends, options: Options, known: Observation, *, quiet: bool) -> FileResult:
    """Restore one photo; the bytes of the result are those that a file would get.

    Raises:
        UnblurError: a photo or places that will not do.
    """
    from unblur.image_io import MAX_BYTES, check_writable
    from unblur.image_io.read import read_bytes
    from unblur.image_io.write import FORMATS, put_in_place
    from unblur.pipeline.in_memory import restore_bytes

    format = None
    if ends.place == STREAM:
        if _on_terminal():
            raise UnblurError("the picture would be printed on the terminal. Name a file with -o, or add: > FILE")
    else:
        for source in (ends.photo, ends.noisy, *ends.keep):
            check_writable(ends.place, overwrite=ends.overwrite, source=None if source == STREAM else source)
        format = FORMATS[ends.place.suffix.lower()]
    data = _standard_input(MAX_BYTES + 1) if ends.photo == STREAM else read_bytes(ends.photo)
    name = "standard input" if ends.photo == STREAM else ends.photo.name
    noisy = None if ends.noisy is None else read_bytes(ends.noisy)
    with progress_bar(name, quiet=quiet) as progress:
        content, result = restore_bytes(data, options, progress, known=known, noisy=noisy, name=name, format=format)
    if ends.place == STREAM:
        _print_bytes(content)
    else:
        put_in_place(content, ends.place, overwrite=ends.overwrite)
    return replace(result, input=Path(name), output=ends.place)


def _on_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def _standard_input(most: int) -> bytes:
    """The bytes of standard input, at most `most`."""
    try:
        if sys.stdin is None:  # the shell has closed it
            raise _closed()
        return sys.stdin.buffer.read(most)
    except OSError as error:
        raise UnblurError(f"standard input: it cannot be read ({error.strerror}). Add: < PHOTO") from None


def _closed() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


def _print_bytes(content: bytes) -> None:
    try:
        if sys.stdout is None:
            raise _closed()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise UnblurError(f"standard output: not written ({error.strerror}).") from None
