"""The size of a picture, read from the header of its file."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

from PIL.AvifImagePlugin import AvifImageFile

from unblur.image_io.heif import heif_size
from unblur.image_io.pillow_decode import READERS
from unblur.image_io.raw import is_raw, raw_size
from unblur.image_io.read import format_of


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the picture in pixels, as stored, before it is turned upright.

    None if the header cannot be read. Pixels are not decoded. Of some kinds of RAW the size is only a guess, see
    `raw_size`.
    """
    try:
        with path.open("rb") as file:
            format = format_of(file.read(64), path)
            file.seek(0)
            if format in ("TIFF", "HEIF", "RAW"):
                with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
                    if format == "HEIF":
                        return heif_size(data)
                    if format == "RAW" or is_raw(data):
                        return raw_size(data)
            return AvifImageFile(file).size if format == "AVIF" else READERS[format](file).size
    except Exception:  # decoders raise many kinds of exceptions for a damaged header
        return None
