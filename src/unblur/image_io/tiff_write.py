"""Write a TIFF of any depth with all metadata of the photo, in the byte order of its EXIF.

Pillow cannot write 16-bit or float colour, and tifffile cannot write an EXIF directory. The file consists of a header,
strips compressed with Deflate, and one directory, into which EXIF values are copied byte for byte.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from unblur.image_io.directories import (
    LONG,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Order,
    Tree,
    byte_order,
    read_tree,
    tree_bytes,
)
from unblur.image_io.photo import Photo

_STRIP_BYTES = 1 << 20
_DEFLATE, _HORIZONTAL_PREDICTOR = 8, 2
_SAMPLE_FORMAT = {"u": 1, "f": 3}


def encode_tiff(samples: np.ndarray, photo: Photo) -> bytes:
    """A TIFF file of `samples` `(H, W, C)`, uint8, uint16 or float32; an alpha channel comes last.

    Raises:
        OverflowError: when the file would be larger than 4 GB, the maximum of TIFF.
    """
    block = (photo.exif or b"").removeprefix(b"Exif\0\0")
    order: Order = byte_order(block) if block else "<"
    height, width, channels = samples.shape
    is_integer = samples.dtype.kind == "u"
    rows = max(1, _STRIP_BYTES // (width * channels * samples.dtype.itemsize))
    strips = [_strip(samples[top : top + rows], order) for top in range(0, height, rows)]
    starts = np.cumsum([8, *(len(strip) for strip in strips)])
    end = int(starts[-1]) + int(starts[-1]) % 2
    if end > 4_200_000_000:
        raise OverflowError

    def numbers(kind: int, *values: int) -> tuple[int, bytes]:
        return kind, struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'L'}", *values)

    tree = _carried(block, order)
    tree |= {
        256: numbers(LONG, width),
        257: numbers(LONG, height),
        258: numbers(SHORT, *[8 * samples.dtype.itemsize] * channels),
        259: numbers(SHORT, _DEFLATE),
        262: numbers(SHORT, 2 if channels >= 3 else 1),
        273: numbers(LONG, *(int(start) for start in starts[:-1])),
        274: numbers(SHORT, 1),
        277: numbers(SHORT, channels),
        278: numbers(LONG, rows),
        279: numbers(LONG, *(len(strip) for strip in strips)),
        284: numbers(SHORT, 1),
        317: numbers(SHORT, _HORIZONTAL_PREDICTOR if is_integer else 1),
        339: numbers(SHORT, *[_SAMPLE_FORMAT[samples.dtype.kind]] * channels),
    }
    if channels in (2, 4):
        tree[338] = numbers(SHORT, photo.extra_sample)
    if photo.dpi:
        for tag, dots in zip((282, 283), photo.dpi, strict=True):
            tree[tag] = numbers(RATIONAL, round(dots * 10_000), 10_000)
        tree[296] = numbers(SHORT, 2)
    if photo.icc:
        tree[34675] = (UNDEFINED, photo.icc)
    if photo.xmp:
        tree[700] = (1, photo.xmp)
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", end)
    padding = b"\0" * (end - int(starts[-1]))
    return b"".join([header, *strips, padding, tree_bytes(tree, order, end)])


def _carried(block: bytes, order: Order) -> Tree:
    if not block:
        return {}
    (first,) = struct.unpack_from(order + "L", block, 4)
    return read_tree(block, order, first)


def _strip(rows: np.ndarray, order: Order) -> bytes:
    if rows.dtype.kind == "u":
        differences = rows.copy()
        differences[:, 1:] -= rows[:, :-1]
        rows = differences
    return zlib.compress(rows.astype(rows.dtype.newbyteorder(order), copy=False).tobytes(), 6)
