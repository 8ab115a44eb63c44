"""Decode camera RAW with LibRaw: linear light, in sRGB's primaries, with the camera's white balance, 16 bits.

Light adds up in the sensor, so a blur is exactly a convolution before the tone curve is applied. The curve of sRGB is
applied when the result is written.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

from unblur.image_io.directories import (
    EXIF_DIRECTORY,
    GPS_DIRECTORY,
    Block,
    Order,
    byte_order,
    first_number,
    read_entries,
)
from unblur.image_io.metadata import EXIF_PREFIX, exif_of_parts, exif_of_tiff
from unblur.image_io.photo import Decoded, ImageFileError, refuse_if_huge
from unblur.image_io.pillow_decode import image_segments

_WIDTH, _HEIGHT, _PHOTOMETRIC, _SUBDIRECTORIES, _DNG_VERSION = 256, 257, 262, 330, 50706  # tags
_COLOUR_FILTER_ARRAY = 32803
_MOST_SUBDIRECTORIES = 16
_MARKS = {b"IIRO": b"II*\0", b"IIRS": b"II*\0", b"MMOR": b"MM\0*", b"IIU\0": b"II*\0"}  # of Olympus and Panasonic
_FUJI, _FUJI_JPEG = b"FUJIFILMCCD-RAW ", 84  # the beginning; where the place of the JPEG stands
_CR3_METADATA = 2**20  # bytes at the beginning that hold the metadata of a CR3


def is_raw(data: Block) -> bool:
    """Whether a TIFF file holds camera RAW: it is a DNG, or its picture or a sub-picture is a colour filter array.

    Args:
        data: the content of the file.
    """
    try:
        order = byte_order(data)
        places = _directories(data, order)
        entries, _ = read_entries(data, order, places[0], lambda tag: tag == _DNG_VERSION)
    except (ValueError, struct.error):
        return False
    return bool(entries) or any(_shows_a_filter_array(data, order, place) for place in places)


def _order(data: Block) -> Order:
    """The byte order of a TIFF, also of one with a mark of its own.

    Raises:
        ValueError: when this is none.
    """
    head = bytes(data[:4])
    return byte_order(_MARKS.get(head, head))


def _directories(data: Block, order: Order) -> list[int]:
    """Where the directories of a TIFF are: the first, those of its sub-pictures, and those that follow it.

    Raises:
        struct.error: when the first one is damaged.
    """
    (first,) = struct.unpack_from(order + "L", data, 4)
    entries, pointer = read_entries(data, order, first)
    tags = {entry.tag: entry for entry in entries}
    below = tags[_SUBDIRECTORIES].raw[: 4 * _MOST_SUBDIRECTORIES] if _SUBDIRECTORIES in tags else b""
    places = [first, *(place for (place,) in struct.iter_unpack(order + "L", below[: len(below) // 4 * 4]))]
    for _ in range(_MOST_SUBDIRECTORIES):  # limited, since a damaged file may be a circle
        (following,) = struct.unpack_from(order + "L", data, pointer)
        if following == 0:
            break
        places.append(following)
        try:
            _, pointer = read_entries(data, order, following, lambda _: False)
        except struct.error:
            break
    return places


def _shows_a_filter_array(data: Block, order: Order, place: int) -> bool:
    """Whether the directory at `place` describes one; False if it is damaged."""
    try:
        entries, _ = read_entries(data, order, place, lambda tag: tag == _PHOTOMETRIC)
        return any(first_number(entry, order) == _COLOUR_FILTER_ARRAY for entry in entries)
    except struct.error:
        return False


def decode_raw(data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode the picture of a RAW file, upright.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        max_pixels: a picture with more pixels is refused before it is decoded.

    Raises:
        ImageFileError: when rawpy is not installed, or the file is too large or is not supported.
    """
    rawpy = require_rawpy(path)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            refuse_if_huge(path, *_size(raw), max_pixels)
            samples = raw.postprocess(
                gamma=(1, 1),
                output_bps=16,
                use_camera_wb=True,
                no_auto_bright=True,
                adjust_maximum_thr=0,  # brightness must not depend on what the photo shows
                output_color=rawpy.ColorSpace.sRGB,
            )
    except rawpy.LibRawError as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise ImageFileError(path, f"LibRaw cannot read it ({reason}). Convert it to 16-bit TIFF first.") from error
    exif = _exif(data)
    notes = ["RAW was developed with the camera's white balance and the curve of sRGB; its JPEG may look different."]
    if exif is None:
        notes.append("Its EXIF data was not found, and is left out.")
    return Decoded(
        samples=samples if samples.ndim == 3 else samples[..., None],
        format="RAW",
        orientation=1,  # LibRaw turns the picture
        exif=exif,
        linear=True,
        notes=notes,
    )


def raw_size(data: Block) -> tuple[int, int]:
    """Width and height of the largest picture in a RAW file, as stored.

    If it does not have the layout of a TIFF, or does not say, as many pixels as bytes are assumed, in one row. LibRaw
    is not used, which a damaged file may crash.

    Args:
        data: the content of the file.
    """
    sizes = []
    try:
        order = _order(data)
        for place in _directories(data, order):
            with contextlib.suppress(struct.error):  # a directory below may be damaged
                entries, _ = read_entries(data, order, place, lambda tag: tag in (_WIDTH, _HEIGHT))
                numbers = {entry.tag: first_number(entry, order) for entry in entries}
                if len(numbers) == 2:
                    sizes.append((numbers[_WIDTH], numbers[_HEIGHT]))
    except (ValueError, struct.error):
        pass
    return max(sizes, key=math.prod, default=(len(data), 1))


def require_rawpy(path: Path) -> ModuleType:
    """The package rawpy.

    Raises:
        ImageFileError: when it is not installed; `path` is the file that needs it.
    """
    try:
        import rawpy
    except ImportError:
        raise ImageFileError(
            path, "camera RAW needs one more package: pip install 'unblur[raw]'. Or convert it to 16-bit TIFF first."
        ) from None
    return rawpy


def _size(raw: Any) -> tuple[int, int]:
    return raw.sizes.width, raw.sizes.height


def _exif(data: bytes) -> bytes | None:
    """The EXIF of a RAW file; None if it has none, or has it at a place that is not known.

    Most have the layout of a TIFF, some with a header of their own. Fuji's hold a JPEG that has it, and Canon's CR3 one
    TIFF for each directory.
    """
    if data.startswith(_FUJI):
        start, length = struct.unpack_from(">LL", data, _FUJI_JPEG)
        jpeg = data[start : start + length]
        return next((content for _, content in image_segments(jpeg) if content.startswith(EXIF_PREFIX)), None)
    if data[4:12] == b"ftypcrx ":
        return _exif_of_cr3(data)
    try:
        order = _order(data)
    except ValueError:
        return None
    mark = _MARKS.get(data[:4], data[:4])
    return exif_of_tiff(mark + data[4:], struct.unpack_from(f"{order}L", data, 4)[0])


def _exif_of_cr3(data: bytes) -> bytes | None:
    """The EXIF of a CR3: its first directory, the EXIF directory and that of the place are TIFFs of their own."""
    parts: dict[int, bytes] = {}
    for name, tag in ((b"CMT1", 0), (b"CMT2", EXIF_DIRECTORY), (b"CMT4", GPS_DIRECTORY)):
        at = data.find(name, 0, _CR3_METADATA)
        if at >= 4:
            parts[tag] = data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]
    return exif_of_parts(parts) if 0 in parts else None
