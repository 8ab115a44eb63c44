"""Read a photo from a file or from bytes: detect the format from the content, decode, rotate to be upright."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from unblur.image_io.apart import decode_apart
from unblur.image_io.heif import decode_avif
from unblur.image_io.metadata import orientation_of, readable_exif, turn, upright_exif, upright_xmp
from unblur.image_io.photo import MAX_BYTES, MAX_PIXELS, Decoded, Depth, FileFormat, ImageFileError, Photo
from unblur.image_io.pillow_decode import decode_with_pillow
from unblur.image_io.png import decode_png
from unblur.image_io.raw import is_raw
from unblur.image_io.tiff_read import decode_tiff
from unblur.image_io.write import FORMATS

# fmt: off
_RAW = {
    ".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".kdc", ".mef", ".mrw", ".nef", ".nrw",
    ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f",
}
# fmt: on
_HEIF = {".heic", ".heif", ".hif", ".avif"}
PHOTO_SUFFIXES = frozenset({*FORMATS, ".gif", ".bmp", *_HEIF, *_RAW})
"""Suffixes of photos, in small letters; also of those that need an extra package."""

_FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    **FORMATS,
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    ".avif": "AVIF",
    ".gif": "GIF",
    ".bmp": "BMP",
}
_LARGEST = 2.0**125  # largest value of a float file; larger ones would overflow in single precision
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def read_photo(path: str | Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> Photo:
    """Read one picture, upright, in [0, 1], without loss of bit depth.

    Formats are JPEG, PNG, TIFF, WebP, AVIF, BMP, single-frame GIF, HEIF (with pi-heif) and camera RAW (with rawpy),
    detected from the content; some kinds of RAW only from the suffix. The values of RAW are linear light. Integer
    samples are divided by 255 or 65535. The values of a floating-point TIFF are kept if they lie in [0, 1]. Otherwise a
    negative `offset` is subtracted if there are negative values, and the result is divided by `scale`, the next power
    of two above its maximum; a very dark picture is scaled up in the same way.

    Args:
        path: the file.
        max_pixels: a picture whose header declares more is refused before it is decoded.
        max_bytes: a larger file is refused before it is read.

    Raises:
        ImageFileError: when the file cannot be read; the message names the file and the remedy.
    """
    path = Path(path)
    return decode_photo(read_bytes(path, max_bytes), path, max_pixels=max_pixels, max_bytes=max_bytes)


def decode_photo(
    data: bytes, name: str | Path = "photo", *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> Photo:
    """Decode the bytes of a file, as `read_photo` does.

    Args:
        data: the content of the file.
        name: name of the file in messages; with a suffix of camera RAW (`.dng`, `.nef`, ...), it is read as RAW. A TIFF
            that is a DNG or holds a colour filter array is RAW whatever its name.
        max_pixels: a picture whose header declares more is refused before it is decoded.
        max_bytes: longer data are refused.

    Raises:
        ImageFileError: when the data cannot be decoded; the message holds the name and the remedy.
    """
    path = Path(name)
    _refuse_if_long(path, len(data), max_bytes)
    format = format_of(data[:64], path)
    if format == "TIFF" and is_raw(data):
        format = "RAW"
    try:
        if format == "PNG":
            decoded = decode_png(data, path, max_pixels)
        elif format == "TIFF":
            decoded = decode_tiff(data, path, max_pixels)
        elif format == "HEIF":
            decoded = decode_apart("HEIF", data, path, max_pixels)
        elif format == "AVIF":
            decoded = decode_avif(data, path, max_pixels)
        elif format == "RAW":
            decoded = decode_apart("RAW", data, path, max_pixels)
        else:
            decoded = decode_with_pillow(data, path, format, max_pixels)
        return _finish(decoded, path)
    except ImageFileError:
        raise
    except MemoryError as error:
        raise ImageFileError(path, "it needs more memory than there is. Crop it first.") from error
    except Image.DecompressionBombError as error:  # Pillow's own limit, inside some of its readers
        raise ImageFileError(path, f"it is too large to be read as {format}. Save it as TIFF or PNG.") from error
    except Exception as error:  # decoders raise many kinds of exceptions for a damaged file
        raise ImageFileError(path, "the file is damaged or cut short. Copy it again.") from error


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file. A file that is not a photo is refused after its first 64 bytes were read.

    Args:
        path: the file.
        max_bytes: a larger file is refused before it is read.

    Raises:
        ImageFileError: when the file cannot be read or is not a photo; the message names the file and the remedy.
    """
    return _read(path, max_bytes, whole=True)


def check_readable(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Check that a file can be read and seems to be a photo, as `read_bytes` does; only 64 bytes are read.

    Raises:
        ImageFileError: as `read_bytes`.
    """
    _read(path, max_bytes, whole=False)


def _read(path: Path, max_bytes: int, *, whole: bool) -> bytes:
    """The content of a photo's file, or its first 64 bytes; see `read_bytes`."""
    try:
        if path.is_dir():
            raise ImageFileError(path, "this is a folder. Name a picture in it.")
        if not path.exists():
            raise ImageFileError(path, "there is no such file. Check the name.")
        if not path.is_file():
            raise ImageFileError(path, "this is not an ordinary file. Copy the picture to a disk first.")
        _refuse_if_long(path, path.stat().st_size, max_bytes)
        with path.open("rb") as file:
            head = file.read(64)
            format_of(head, path)
            return head + file.read() if whole else head
    except PermissionError as error:
        raise ImageFileError(path, "you may not read this file. Change its permissions.") from error
    except OSError as error:
        raise ImageFileError(path, f"it cannot be read ({error.strerror}). Check the disk.") from error


def _refuse_if_long(path: Path, length: int, max_bytes: int) -> None:
    if length > max_bytes:
        raise ImageFileError(
            path,
            f"it has {length / 1e6:.4g} million bytes; the limit is {max_bytes / 1e6:.4g} million. Save it smaller.",
        )


def format_of(head: bytes, path: Path) -> FileFormat:
    """The format of a file, detected from its first 64 bytes.

    Raises:
        ImageFileError: when the format is not supported; the message names the remedy.
    """
    if not head:
        raise ImageFileError(path, "the file is empty (0 bytes). Copy it again from the camera.")
    if path.suffix.lower() in _RAW or _is_cr2(head) or head[4:12] == b"ftypcrx ":
        return "RAW"
    if head[4:8] == b"ftyp":
        brands = {head[at : at + 4] for at in range(8, min(int.from_bytes(head[:4], "big"), len(head)), 4)}
        if brands & {b"avif", b"avis"}:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
        raise ImageFileError(path, "this is a video, not a picture. Save one frame as a picture first.")
    if head.startswith(b"%PDF"):
        raise ImageFileError(path, "this is a PDF. Export the picture in it as PNG or TIFF first.")
    signatures: dict[bytes, FileFormat] = {
        b"\xff\xd8\xff": "JPEG",
        b"\x89PNG\r\n\x1a\n": "PNG",
        b"II*\0": "TIFF",
        b"MM\0*": "TIFF",
        b"II+\0": "TIFF",
        b"MM\0+": "TIFF",
        b"GIF8": "GIF",
        b"BM": "BMP",
    }
    for signature, format in signatures.items():
        if head.startswith(signature):
            return format
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    raise ImageFileError(path, "its format is not known. Convert it to JPEG, PNG, TIFF or WebP first.")


def _is_cr2(head: bytes) -> bool:
    """Whether this is Canon's RAW, a TIFF with a mark of its own after the header."""
    return head.startswith(b"II*\0") and head[8:11] == b"CR\x02"


def _finish(decoded: Decoded, path: Path) -> Photo:
    exif = readable_exif(decoded.exif)
    notes = list(decoded.notes)
    if decoded.exif and exif is None:
        notes.append("The EXIF data is damaged and was left out.")
    named = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if named is not None and named != decoded.format:
        notes.append(f"This is a {decoded.format} file, though its name ends in {path.suffix}.")
    orientation = decoded.orientation or orientation_of(exif, decoded.xmp)
    samples = np.ascontiguousarray(turn(decoded.samples, orientation))
    height, width = samples.shape[:2]
    dpi = _valid_dpi(decoded.dpi)
    if dpi and orientation >= 5:
        dpi = (dpi[1], dpi[0])
    pixels, depth, scale, offset = _normalise(samples, path)
    alpha = None
    if decoded.alpha is not None:
        alpha = np.ascontiguousarray(turn(decoded.alpha, orientation)).astype(np.float32)
        alpha = alpha if depth == "float32" else alpha / np.float32(np.iinfo(samples.dtype).max)
        if not np.isfinite(alpha).all():
            raise ImageFileError(path, "its alpha channel holds NaN or infinity. Replace these first.")
    if scale != 1 or offset != 0:
        notes.append(f"The values were mapped to 0..1: {offset:g} was subtracted, and the result divided by {scale:g}.")
    return Photo(
        pixels=pixels,
        alpha=alpha,
        depth=depth,
        format=decoded.format,
        exif=upright_exif(exif, width, height) if exif else None,
        icc=decoded.icc or None,
        dpi=dpi,
        xmp=upright_xmp(decoded.xmp) if decoded.xmp else None,
        scale=scale,
        offset=offset,
        mode=decoded.mode,
        lossless=decoded.lossless,
        jpeg_tables=decoded.jpeg_tables,
        extra_sample=decoded.extra_sample,
        native=decoded.native,
        cicp=decoded.cicp,
        linear=decoded.linear,
        notes=notes,
    )


def _valid_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """The resolution as floats, or None if a value is zero, negative or not finite."""
    if dpi is None or not all(math.isfinite(value) and value > 0 for value in dpi):
        return None
    return float(dpi[0]), float(dpi[1])


def _normalise(samples: np.ndarray, path: Path) -> tuple[np.ndarray, Depth, float, float]:
    """Pixels in [0, 1], the depth, and the scale and offset: `samples = pixels * scale + offset` for float files."""
    if samples.dtype != np.float32:
        depth: Depth = "uint8" if samples.dtype == np.uint8 else "uint16"
        top = np.float32(np.iinfo(samples.dtype).max)
        planes = np.empty((samples.shape[2], *samples.shape[:2]), np.float32)  # the memory layout of (C, H, W)
        np.divide(samples.transpose(2, 0, 1), top, out=planes)
        return planes.transpose(1, 2, 0), depth, 1.0, 0.0
    if not np.isfinite(samples).all():
        raise ImageFileError(path, "it holds NaN or infinite values. Replace them (by 0, say) first.")
    low, high = float(samples.min()), float(samples.max())
    if max(-low, high) > _LARGEST:
        raise ImageFileError(
            path, f"it holds values of {max(high, low, key=abs):.3g}. Divide them, or replace them by 0."
        )
    # Powers of two lose no bits. A picture far below 1 is scaled up; it would look black otherwise.
    offset = 0.0 if low >= 0 else -(2.0 ** math.ceil(math.log2(-low)))
    span = high - offset
    scale = 1.0 if span == 0 or 1 / 16 <= span <= 1 else 2.0 ** math.ceil(math.log2(span))
    return (samples - np.float32(offset)) / np.float32(scale), "float32", scale, offset
