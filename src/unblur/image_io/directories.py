"""Image file directories: the tables of tags in TIFF files and EXIF blocks.

Values are kept as raw bytes with their type, so that every tag, also an unknown one, is copied exactly from file to
file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import Literal

SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
_TYPE_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

EXIF_DIRECTORY, GPS_DIRECTORY, INTEROP_DIRECTORY = 34665, 34853, 40965
_POINTERS = {EXIF_DIRECTORY, GPS_DIRECTORY, INTEROP_DIRECTORY}

Order = Literal["<", ">"]
"""Byte order in the notation of `struct` and numpy."""

Block = bytes | bytearray | mmap
"""A TIFF file or an EXIF block."""

Value = tuple[int, bytes]
"""A tag's type and its raw bytes, in the byte order of the block."""

Tree = dict[int, "Value | Tree"]
"""A directory: tag -> value, or tag -> directory where the value is the offset of another directory."""


@dataclass(frozen=True)
class Entry:
    """One tag: its type, its raw bytes, and their offset in the block."""

    tag: int
    type: int
    raw: bytes
    position: int


def byte_order(block: Block) -> Order:
    """The byte order that a TIFF header declares, '<' or '>' as in `struct`.

    Raises:
        ValueError: when the block does not begin with a TIFF header.
    """
    orders: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(bytes(block[:4]))
    if order is None:
        raise ValueError("not a TIFF header")
    return order


def read_entries(
    block: Block, order: Order, offset: int, wanted: Callable[[int], bool] = lambda _: True
) -> tuple[list[Entry], int]:
    """The entries of the directory at `offset`, and the position of its pointer to the next directory.

    Some entries are left out: those of unknown type and those whose value lies outside the block, which some cameras
    write; and those with which the values would have more bytes together than the block, to limit the memory.

    Raises:
        struct.error: when the directory itself lies outside the block.
    """
    (number,) = struct.unpack_from(order + "H", block, offset)
    entries, bytes_left = [], len(block)
    for position in range(offset + 2, offset + 2 + 12 * number, 12):
        tag, kind, count = struct.unpack_from(order + "HHL", block, position)
        size = _TYPE_SIZE.get(kind, 0) * count
        place = position + 8
        if size > 4:
            (place,) = struct.unpack_from(order + "L", block, place)
        if 0 < size <= bytes_left and place + size <= len(block) and wanted(tag):
            bytes_left -= size
            entries.append(Entry(tag, kind, bytes(block[place : place + size]), place))
    after = offset + 2 + 12 * number
    struct.unpack_from(order + "L", block, after)  # raises when the directory is incomplete
    return entries, after


def read_tree(
    block: bytes | bytearray,
    order: Order,
    offset: int,
    wanted: Callable[[int], bool] = lambda _: True,
    depth: int = 0,
) -> Tree:
    """The directory at `offset` and the EXIF, GPS and interoperability directories below it.

    Args:
        block: a TIFF file, or an EXIF block without its prefix.
        order: its byte order.
        offset: where the directory starts, in bytes from the start of the block.
        wanted: which tags to read in the first directory; below it, all are read.
        depth: number of directories above this one.

    Raises:
        struct.error: when the directory at `offset` lies outside the block.
    """
    tree: Tree = {}
    for entry in read_entries(block, order, offset, wanted)[0]:
        if entry.tag not in _POINTERS:
            tree[entry.tag] = (entry.type, entry.raw)
        elif depth < 2:  # limited, since a damaged directory may point to itself
            try:
                tree[entry.tag] = read_tree(block, order, first_number(entry, order), depth=depth + 1)
            except struct.error:
                continue
    return tree


def tree_bytes(tree: Tree, order: Order, start: int) -> bytes:
    """The bytes of the directory for offset `start` (even) in the file. It names no next directory."""
    table = struct.pack(order + "H", len(tree))
    aside = b""
    aside_start = start + 2 + 12 * len(tree) + 4
    for tag, value in sorted(tree.items()):
        if isinstance(value, dict):
            place = aside_start + len(aside)
            aside += tree_bytes(value, order, place)
            table += struct.pack(order + "HHLL", tag, LONG, 1, place)
        else:
            kind, raw = value
            count = len(raw) // _TYPE_SIZE[kind]
            if len(raw) <= 4:
                table += struct.pack(order + "HHL", tag, kind, count) + raw.ljust(4, b"\0")
            else:
                table += struct.pack(order + "HHLL", tag, kind, count, aside_start + len(aside))
                aside += raw
        aside += b"\0" * (len(aside) % 2)
    return table + struct.pack(order + "L", 0) + aside


def first_number(entry: Entry, order: Order) -> int:
    """The first value of a SHORT or LONG entry.

    Raises:
        struct.error: when the entry is of another type.
    """
    if entry.type not in (SHORT, LONG, 13):
        raise struct.error("not a whole number")
    return struct.unpack_from(order + ("H" if entry.type == SHORT else "L"), entry.raw)[0]
