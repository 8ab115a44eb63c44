"""Adjust EXIF and XMP after a picture was rotated to be upright: orientation, sizes and thumbnail."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

import numpy as np

from unblur.image_io.directories import (
    EXIF_DIRECTORY,
    GPS_DIRECTORY,
    RATIONAL,
    SHORT,
    Entry,
    Order,
    Tree,
    byte_order,
    first_number,
    read_entries,
    read_tree,
    tree_bytes,
)

EXIF_PREFIX = b"Exif\0\0"
_ORIENTATION = 274
_EXPOSURE_TIME, _F_NUMBER, _ISO = 33434, 33437, 34855
_PIXEL_X, _PIXEL_Y = 40962, 40963
_THUMBNAIL_START, _THUMBNAIL_LENGTH = 513, 514

_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)([1-8])")

# The tags of a TIFF's first directory that describe the photograph. The others describe the layout of the file, or are
# copied separately (profile, XMP).
_DESCRIPTIVE = {269, 270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 18246, 18249, 33432}
_DESCRIPTIVE |= {*range(40091, 40096), EXIF_DIRECTORY, GPS_DIRECTORY}


def turn(array: np.ndarray, orientation: int) -> np.ndarray:
    """The upright picture of an array `(H, W, ...)` stored with EXIF `orientation` 1 to 8."""
    match orientation:
        case 2:
            return array[:, ::-1]
        case 3:
            return array[::-1, ::-1]
        case 4:
            return array[::-1]
        case 5:
            return array.swapaxes(0, 1)
        case 6:
            return np.rot90(array, -1)
        case 7:
            return array[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(array, 1)
    return array


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """The orientation, 1 to 8, from EXIF; if it is not there, from XMP; else 1."""
    if exif is not None:
        block = exif.removeprefix(EXIF_PREFIX)
        for entry in _first_directory(block)[0]:
            if entry.tag == _ORIENTATION and entry.type == SHORT:
                value = first_number(entry, byte_order(block))
                return value if 1 <= value <= 8 else 1
    found = _XMP_ORIENTATION.search(xmp or b"")
    return int(found[2]) if found else 1


def readable_exif(exif: bytes | None) -> bytes | None:
    """The EXIF block with its prefix, or None if it is missing or its first directory cannot be read."""
    if not exif:
        return None
    block = exif.removeprefix(EXIF_PREFIX)
    try:
        _first_directory(block)
    except (struct.error, ValueError):
        return None
    return EXIF_PREFIX + block


def upright_exif(exif: bytes, width: int, height: int) -> bytes:
    """The EXIF block for an upright picture of this size: orientation 1, the new sizes, and no thumbnail.

    Args:
        exif: a block that `readable_exif` has accepted.
        width: width of the upright picture in pixels.
        height: height of the upright picture in pixels.
    """
    # Values are overwritten at their offsets, because a maker note holds offsets from the start of the block.
    block = bytearray(exif.removeprefix(EXIF_PREFIX))
    order = byte_order(block)
    entries, next_pointer = _first_directory(block)
    for entry in entries:
        if entry.tag == _ORIENTATION:
            _set_number(block, order, entry, 1)
        elif entry.tag == EXIF_DIRECTORY:
            try:
                inner = read_entries(block, order, first_number(entry, order))[0]
            except struct.error:
                continue
            for size in inner:
                if size.tag in (_PIXEL_X, _PIXEL_Y):
                    _set_number(block, order, size, width if size.tag == _PIXEL_X else height)
    return EXIF_PREFIX + _without_thumbnail(block, order, next_pointer)


def exposure_of(exif: bytes | None) -> float | None:
    """Brightness of a grey scene in the file: exposure time in seconds, times ISO, divided by the f-number squared.

    Without an f-number, as with a fixed aperture, it is divided by 1. Only the ratio of two exposures means something.

    Args:
        exif: a block that `readable_exif` has accepted, or None.

    Returns:
        None when there is no time or no ISO.
    """
    if exif is None:
        return None
    block = exif.removeprefix(EXIF_PREFIX)
    order = byte_order(block)
    values: dict[int, float] = {}
    try:
        for entry in _first_directory(block)[0]:
            if entry.tag == EXIF_DIRECTORY:
                for inner in read_entries(block, order, first_number(entry, order))[0]:
                    if inner.tag in (_EXPOSURE_TIME, _F_NUMBER) and inner.type == RATIONAL:
                        above, below = struct.unpack_from(order + "LL", inner.raw)
                        values[inner.tag] = above / below if below else 0.0
                    elif inner.tag == _ISO:
                        values[inner.tag] = float(first_number(inner, order))
    except struct.error:
        return None
    seconds, iso, f_number = (values.get(tag, 0.0) for tag in (_EXPOSURE_TIME, _ISO, _F_NUMBER))
    return seconds * iso / (f_number or 1.0) ** 2 if seconds > 0 and iso > 0 else None


def upright_xmp(xmp: bytes) -> bytes:
    """The XMP packet with `tiff:Orientation` set to 1."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def exif_of_tiff(data: bytes, directory: int) -> bytes | None:
    """An EXIF block with the descriptive tags of the TIFF directory at offset `directory`.

    None when there are no such tags, or the file is a BigTIFF, which has another layout.
    """
    try:
        order = byte_order(data)
        tree = read_tree(data, order, directory, wanted=_DESCRIPTIVE.__contains__)
    except (struct.error, ValueError):
        return None
    description = tree.get(270)
    if isinstance(description, tuple) and description[1].startswith((b'{"shape"', b"shape=")):
        del tree[270]  # tifffile describes the layout of the file here; it is wrong for another file
    return _exif_block(tree, order)


def exif_of_parts(parts: Mapping[int, bytes]) -> bytes | None:
    """An EXIF block from directories that are stored as TIFF files of their own.

    Args:
        parts: the first directory at 0, the directories below it at the tags that point to them.

    Returns:
        None if the first directory is damaged. Another one that is damaged is left out.
    """
    tree: Tree = {}
    order: Order | None = None
    for tag, part in sorted(parts.items()):
        try:
            its_order = byte_order(part)
            (first,) = struct.unpack_from(its_order + "L", part, 4)
            wanted = _DESCRIPTIVE if tag == 0 else range(2**16)
            directory = read_tree(part, its_order, first, wanted.__contains__)
        except (struct.error, ValueError):
            continue
        if tag == 0:
            tree, order = directory, its_order
        elif directory and its_order == order:
            tree[tag] = directory
    return None if order is None else _exif_block(tree, order)


def _exif_block(tree: Tree, order: Order) -> bytes | None:
    """The EXIF block of a first directory; None if it is empty."""
    if not tree:
        return None
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    return EXIF_PREFIX + header + tree_bytes(tree, order, len(header))


def _first_directory(block: bytes | bytearray) -> tuple[list[Entry], int]:
    order = byte_order(block)
    (offset,) = struct.unpack_from(order + "L", block, 4)
    return read_entries(block, order, offset)


def _set_number(block: bytearray, order: Order, entry: Entry, value: int) -> None:
    if entry.type == SHORT:
        struct.pack_into(order + "H", block, entry.position, min(value, 65535))
    elif len(entry.raw) == 4:
        struct.pack_into(order + "L", block, entry.position, value)


def _without_thumbnail(block: bytearray, order: Order, next_pointer: int) -> bytes:
    (second,) = struct.unpack_from(order + "L", block, next_pointer)
    if second == 0:
        return bytes(block)
    struct.pack_into(order + "L", block, next_pointer, 0)
    try:
        numbers = {
            entry.tag: first_number(entry, order)
            for entry in read_entries(block, order, second)[0]
            if entry.tag in (_THUMBNAIL_START, _THUMBNAIL_LENGTH)
        }
    except struct.error:
        return bytes(block)
    start, length = numbers.get(_THUMBNAIL_START, 0), numbers.get(_THUMBNAIL_LENGTH, 0)
    if start <= second:
        return bytes(block)
    if start + length >= len(block) - 1:
        return bytes(block[:start])  # the thumbnail is usually at the end
    block[start : start + length] = bytes(length)
    return bytes(block)
