"""The size of a picture, read from the header of its file."""

from __future__ import annotations

from pathlib import Path

from unblur.image_io.photo import ImageFileError
from unblur.image_io.pillow_decode import READERS
from unblur.image_io.read import format_of


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the picture in pixels, as stored, before it is turned upright.

    None if the header cannot be read. Nothing is decoded.
    """
    try:
        with path.open("rb") as file:
            format = format_of(file.read(64), path)
            file.seek(0)
            return READERS[format](file).size
    except (ImageFileError, OSError):
        return None
    except Exception:  # Pillow raises many kinds of exceptions for a damaged header
        return None
