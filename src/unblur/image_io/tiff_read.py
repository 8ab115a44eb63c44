"""Read TIFF at every depth: tifffile reads the pages and their tags, imagecodecs decodes the pixels.

Pillow would reduce 16-bit colour to 8 bits, so it decodes only the 8-bit kinds that need a conversion: JPEG in TIFF,
palettes, CMYK, fax.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unblur.image_io.metadata import exif_of_tiff
from unblur.image_io.photo import Decoded, ImageFileError, refuse_if_huge
from unblur.image_io.pillow_decode import decode_with_pillow

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, Deflate, PackBits, old Deflate, LZMA, Zstandard
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_MAX_PAGES = 1000
_INCHES = {2: 1.0, 3: 2.54}
_TO_FLOAT = {
    "float16": "16-bit floating-point",
    "float64": "64-bit floating-point",
    "int8": "8-bit signed",
    "int16": "16-bit signed",
    "int32": "32-bit signed",
    "uint32": "32-bit",
}


def decode_tiff(data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode the only full-size picture of a TIFF.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        max_pixels: a picture with more pixels is refused.

    Raises:
        ImageFileError: when there are several pictures, or the picture is too large or of an unsupported kind.
        Exception: of any kind, when the file is damaged.
    """
    from tifffile import TiffFile

    with TiffFile(io.BytesIO(data)) as file:
        page = _only_picture(file, path, max_pixels)
        if _is_plain(page):
            decoded = _decode_plain(data, page, path)
        elif max(_numbers(page.bitspersample)) <= 8:
            decoded = decode_with_pillow(data, path, "TIFF", max_pixels)
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


def _only_picture(file: TiffFile, path: Path, max_pixels: int) -> TiffPage:
    pages, offsets = [], set()
    for page in file.pages:
        # In a damaged file, the links from one directory to the next may form a circle.
        if page.offset in offsets or len(pages) == _MAX_PAGES:
            raise ImageFileError(path, f"it is damaged, or holds more than {_MAX_PAGES} pictures. Save one on its own.")
        offsets.add(page.offset)
        pages.append(page.aspage())
    if not pages:
        raise ImageFileError(path, "the file is damaged or cut short. Copy it again.")
    pages = [page for page in pages if not page.subfiletype & 0b101]  # neither a preview nor a mask
    if not pages:
        raise ImageFileError(path, "it holds only a preview. Convert the RAW original to TIFF first.")
    for page in pages:
        refuse_if_huge(path, page.imagewidth, page.imagelength, max_pixels)
        if page.is_tiled:
            refuse_if_huge(path, page.tilewidth, page.tilelength, max_pixels)
    largest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
    area = largest.imagewidth * largest.imagelength
    full_size = [page for page in pages if 4 * page.imagewidth * page.imagelength > area]
    number = len(full_size) * largest.imagedepth
    if number > 1:
        raise ImageFileError(path, f"it holds {number} pictures (or channels). Save the one you want on its own.")
    return largest


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)


def _is_plain(page: TiffPage) -> bool:
    """Whether a page is grey or RGB, of whole bytes, and compressed without loss."""
    return (
        page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        and page.compression in _LOSSLESS
        and set(_numbers(page.bitspersample)) <= {8, 16, 32, 64}
        and page.dtype is not None
        and page.dtype.itemsize * 8 == page.bitspersample
    )


def _decode_plain(data: bytes, page: TiffPage, path: Path) -> Decoded:
    colours = 3 if page.photometric == _RGB or page.samplesperpixel == 3 else 1
    extra = page.samplesperpixel - colours
    if extra not in (0, 1):
        raise ImageFileError(
            path, f"it has {page.samplesperpixel} channels. Save it as grey or RGB, with or without alpha."
        )
    samples = _read_samples(data, page)
    notes = []
    kind = samples.dtype.name
    if page.photometric == _WHITE_IS_ZERO:
        if kind not in ("uint8", "uint16"):
            raise ImageFileError(path, f"white-is-zero {kind} is not supported. Save it as black-is-zero.")
        samples = samples.copy()
        samples[..., :colours] = np.iinfo(samples.dtype).max - samples[..., :colours]
    if kind in _TO_FLOAT:
        samples = samples.astype(np.float32)
        notes.append(f"The {_TO_FLOAT[kind]} samples were converted to 32-bit floating point.")
    elif kind not in ("uint8", "uint16", "float32"):
        raise ImageFileError(path, f"samples of type {kind} are not supported. Save it as 16-bit or float32.")
    colour, alpha = samples[..., :colours], samples[..., colours] if extra else None
    extra_sample = int(page.extrasamples[0]) if extra and page.extrasamples else 0
    if alpha is not None and extra_sample == 1:
        colour = _divided_by_alpha(colour, alpha)
        extra_sample = 2
        notes.append("The colours were stored multiplied by the alpha; they were divided by it.")
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


def _read_samples(data: bytes, page: TiffPage) -> np.ndarray:
    """All samples of a page, `(H, W, samples per pixel)`, in the type of the file."""
    from imagecodecs import tiff_decode

    samples = tiff_decode(data, index=page.index)
    if page.planarconfig == 2 and page.samplesperpixel > 1:  # one plane after the other
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
