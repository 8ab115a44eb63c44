"""TIFF at every depth: the pages are found by tifffile, the strips and tiles are decoded here.

tifffile needs an optional package for LZW and for the floating-point predictor, Pillow squeezes 16-bit colour
into 8 bits, and OpenCV turns the picture and confuses separate planes. What is left for Pillow are the
8-bit kinds: JPEG in TIFF, palettes, CMYK, fax.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from unblur.image_io.directories import LONG, SHORT, Tree, tree_bytes
from unblur.image_io.metadata import exif_of_tiff
from unblur.image_io.photo import Decoded, ImageFileError, refuse_if_huge
from unblur.image_io.pillow_decode import decode_with_pillow, keep_quiet

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_NONE, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_BYTEWISE = {_NONE, 5, _DEFLATE, 32773, _OLD_DEFLATE, 34925, 50000}  # also LZW, PackBits, LZMA, Zstandard
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_INCHES = {2: 1.0, 3: 2.54}
_TO_FLOAT = {
    "float16": "16-bit floating-point",
    "float64": "64-bit floating-point",
    "int8": "8-bit signed",
    "int16": "16-bit signed",
    "int32": "32-bit signed",
    "uint32": "32-bit",
}


def decode_tiff(data: bytes, path: Path) -> Decoded:
    """Decode the one full-size picture of a TIFF.

    Raises:
        ImageFileError: when there is more than one, when it is damaged, too big, or of an unsupported kind.
    """
    from tifffile import TiffFile

    with keep_quiet(), TiffFile(io.BytesIO(data)) as file:
        page = _only_picture(file, path)
        if _is_plain(page):
            decoded = _decode_plain(data, page, path)
        elif max(_numbers(page.bitspersample)) <= 8:
            decoded = decode_with_pillow(data, path, "TIFF")
        else:
            raise ImageFileError(path, "this kind of TIFF is not supported. Save it as 16-bit RGB or grey.")
        if not file.is_bigtiff:
            decoded.exif = exif_of_tiff(data, page.offset)
        tags = page.tags
        if 34675 in tags and decoded.mode != "CMYK":
            decoded.icc = bytes(tags[34675].value)
        if 700 in tags:
            decoded.xmp = bytes(tags[700].value)
        decoded.dpi = _resolution(page)
        return decoded


def _only_picture(file: TiffFile, path: Path) -> TiffPage:
    pages = [page.aspage() for page in file.pages]
    if not pages:
        raise _damaged(path)
    pages = [page for page in pages if not page.subfiletype & 0b101]  # neither a preview nor a mask
    if not pages:
        raise ImageFileError(path, "it holds only a preview. Convert the RAW original to TIFF first.")
    for page in pages:
        refuse_if_huge(path, page.imagewidth, page.imagelength)
    largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
    area = largest.imagewidth * largest.imagelength
    full_size = [page for page in pages if 4 * page.imagewidth * page.imagelength > area]
    if len(full_size) > 1 or largest.imagedepth > 1:
        raise ImageFileError(
            path, f"it holds {len(full_size)} pictures (or channels). Save the one you want on its own."
        )
    return largest


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_plain(page: TiffPage) -> bool:
    """Grey or RGB in whole bytes, compressed without regard to what the bytes mean."""
    return (
        page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        and page.compression in _BYTEWISE
        and set(_numbers(page.bitspersample)) <= {8, 16, 32, 64}
        and page.fillorder == 1
        and page.dtype is not None
        and page.dtype.itemsize * 8 == page.bitspersample
    )


def _decode_plain(data: bytes, page: TiffPage, path: Path) -> Decoded:
    samples = _read_samples(data, page, path)
    notes = []
    kind = samples.dtype.name
    if page.photometric == _WHITE_IS_ZERO:
        if kind not in ("uint8", "uint16"):
            raise ImageFileError(path, f"white-is-zero {kind} is not supported. Save it as black-is-zero.")
        samples = np.iinfo(samples.dtype).max - samples
    if kind in _TO_FLOAT:
        samples = samples.astype(np.float32)
        notes.append(f"The {_TO_FLOAT[kind]} samples are kept as 32-bit floating point.")
    elif kind not in ("uint8", "uint16", "float32"):
        raise ImageFileError(path, f"samples of type {kind} are not supported. Save it as 16-bit or float32.")

    colours = 3 if page.photometric == _RGB or samples.shape[2] == 3 else 1
    extra = samples.shape[2] - colours
    if extra not in (0, 1):
        raise ImageFileError(
            path,
            f"it has {samples.shape[2]} channels. Save it as grey or RGB, with or without alpha.",
        )
    colour, alpha = samples[..., :colours], samples[..., colours] if extra else None
    extra_sample = int(page.extrasamples[0]) if extra and page.extrasamples else 0
    if alpha is not None and extra_sample == 1:
        colour = _divided_by_alpha(colour, alpha)
        extra_sample = 2
        notes.append("The colours were stored multiplied by the alpha; that was undone.")
    return Decoded(
        samples=colour,
        alpha=alpha,
        format="TIFF",
        orientation=int(page.tags[274].value) if 274 in page.tags else 1,
        mode=f"{'RGB' if colours == 3 else 'L'}{'A' if extra else ''};{page.bitspersample}",
        extra_sample=extra_sample if extra else 2,
        notes=notes,
    )


def _divided_by_alpha(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    top = 1.0 if colour.dtype.kind == "f" else np.iinfo(colour.dtype).max
    opacity = np.where(alpha > 0, alpha / top, 1.0)[..., None]
    plain = colour / opacity
    if colour.dtype.kind == "f":
        return plain.astype(np.float32)
    return np.clip(np.rint(plain), 0, top).astype(colour.dtype)


def _resolution(page: TiffPage) -> tuple[float, float] | None:
    tags = page.tags
    unit = _INCHES.get(int(tags[296].value) if 296 in tags else 2)
    if unit is None or 282 not in tags or 283 not in tags:
        return None
    dots = []
    for tag in (282, 283):
        numerator, denominator = tags[tag].value
        if not numerator or not denominator:
            return None
        dots.append(numerator / denominator * unit)
    return dots[0], dots[1]


def _read_samples(data: bytes, page: TiffPage, path: Path) -> np.ndarray:
    """All samples, `(H, W, samples per pixel)`, in the machine's byte order."""
    assert page.dtype is not None
    height, width, total = page.imagelength, page.imagewidth, page.samplesperpixel
    planes, per_pixel = (total, 1) if page.planarconfig == 2 else (1, total)
    if page.is_tiled:
        block_height, block_width = page.tilelength, page.tilewidth
    else:
        block_height, block_width = max(1, min(page.rowsperstrip or height, height)), width
    down, across = -(-height // block_height), -(-width // block_width)
    if len(page.dataoffsets) < planes * down * across:
        raise _damaged(path)
    samples = np.zeros((height, width, total), page.dtype)
    stored_type = page.dtype.newbyteorder(page.parent.byteorder)
    for index in range(planes * down * across):
        plane, place = divmod(index, down * across)
        top, left = place // across * block_height, place % across * block_width
        rows = block_height if page.is_tiled else min(block_height, height - top)
        shape = (rows, block_width, per_pixel)
        start, length = page.dataoffsets[index], page.databytecounts[index]
        if start + length > len(data):
            raise ImageFileError(path, "the file is cut short. Copy it again from where it came.")
        raw = _inflate(data[start : start + length], page.compression, shape, stored_type.itemsize, path)
        block = _undo_predictor(raw, page.predictor, shape, stored_type)
        first = plane if planes > 1 else 0
        region = samples[top : top + rows, left : left + block_width, first : first + per_pixel]
        region[...] = block[: region.shape[0], : region.shape[1]]
    return samples


def _damaged(path: Path) -> ImageFileError:
    return ImageFileError(path, "the picture data is damaged or cut short. Copy it again.")


def _inflate(raw: bytes, compression: int, shape: tuple[int, int, int], itemsize: int, path: Path) -> bytes:
    rows, row_bytes = shape[0], shape[1] * shape[2] * itemsize
    size = rows * row_bytes
    if compression in (_DEFLATE, _OLD_DEFLATE):
        # Never inflate past what the header promises: a small file may unpack to gigabytes.
        raw = zlib.decompressobj().decompress(raw, size)
    elif compression != _NONE:
        raw = _inflate_by_libtiff(raw, compression, rows, row_bytes)
    if len(raw) < size:
        raise _damaged(path)
    return raw[:size]


def _inflate_by_libtiff(raw: bytes, compression: int, rows: int, row_bytes: int) -> bytes:
    """Unpack LZW and its like: wrap the bytes as a grey 8-bit TIFF of their own and let Pillow read that.

    These codecs know nothing of what the bytes mean, so any depth passes through whole.
    """

    def number(value: int) -> tuple[int, bytes]:
        return LONG, struct.pack("<L", value)

    tree: Tree = {
        256: number(row_bytes),
        257: number(rows),
        258: (SHORT, struct.pack("<H", 8)),
        259: (SHORT, struct.pack("<H", compression)),
        262: (SHORT, struct.pack("<H", _BLACK_IS_ZERO)),
        273: number(8),
        277: (SHORT, struct.pack("<H", 1)),
        278: number(rows),
        279: number(len(raw)),
    }
    start = 8 + len(raw) + len(raw) % 2
    wrapped = b"II*\0" + struct.pack("<L", start) + raw.ljust(start - 8, b"\0") + tree_bytes(tree, "<", start)
    with Image.open(io.BytesIO(wrapped)) as image:
        return image.tobytes()


def _undo_predictor(raw: bytes, predictor: int, shape: tuple[int, int, int], stored: np.dtype) -> np.ndarray:
    """The block `(rows, width, samples)`: 2 stores differences of samples, 3 differences of sorted bytes."""
    if predictor == 2:
        unsigned = np.dtype(f"{stored.byteorder}u{stored.itemsize}")
        differences = np.frombuffer(raw, unsigned).reshape(shape).astype(unsigned.newbyteorder("="))
        sums = np.cumsum(differences, axis=1, dtype=differences.dtype)  # wraps round, as it must
        return sums.view(stored.newbyteorder("="))
    if predictor == 3:
        rows, width, samples = shape
        differences = np.frombuffer(raw, np.uint8).reshape(rows, -1, samples)
        sums = np.cumsum(differences, axis=1, dtype=np.uint8)
        # A row holds all first bytes (most significant), then all second bytes, and so on.
        bytes_of = sums.reshape(rows, stored.itemsize, width * samples).swapaxes(1, 2)
        return np.ascontiguousarray(bytes_of).view(stored.newbyteorder(">")).reshape(shape)
    return np.frombuffer(raw, stored).reshape(shape)
