"""Decode HEIF (the HEIC of phones) with pi-heif, and AVIF with imagecodecs and Pillow. 10 and 12 bits are kept."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import AvifImagePlugin

from unblur.image_io.directories import Block
from unblur.image_io.metadata import EXIF_PREFIX
from unblur.image_io.photo import Decoded, ImageFileError, cicp_beyond_srgb, refuse_if_huge

_METADATA = 2**22  # bytes at the beginning that hold the metadata
_LARGEST = 2**31  # pixels; a header that declares more is damaged


def decode_heif(data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode the main picture of a HEIF file.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        max_pixels: a picture with more pixels is refused before it is decoded.

    Raises:
        ImageFileError: when pi-heif is not installed, or the picture is too large.
        Exception: of any kind, when the file is damaged.
    """
    picture = require_pi_heif(path).open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    width, height = picture.size
    refuse_if_huge(path, width, height, max_pixels)
    info: dict[str, Any] = picture.info
    notes = ["The file holds more pictures, which are not kept."] if len(picture) > 1 else []
    stored = np.asarray(picture)  # (H, W) or (H, W, C), uint8, or uint16 with the bits at the top
    if stored.dtype == np.uint16:
        stored = _to_16_bits(stored >> (16 - info["bit_depth"]), info["bit_depth"])
    return _decoded(
        stored,
        format="HEIF",
        orientation=1,  # libheif turns the picture; the orientation in its EXIF no longer holds
        exif=_with_prefix(info.get("exif")),
        icc=info.get("icc_profile"),
        xmp=info.get("xmp"),
        cicp=_cicp(data, info.get("icc_profile")),
        notes=notes,
    )


def decode_avif(data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode an AVIF file; the metadata come from Pillow, which reads 8 bits only, and the pixels from imagecodecs.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        max_pixels: a picture with more pixels is refused before it is decoded.

    Raises:
        ImageFileError: when it is animated or too large.
        Exception: of any kind, when the file is damaged.
    """
    import imagecodecs

    header = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    refuse_if_huge(path, *header.size, max_pixels)
    if getattr(header, "n_frames", 1) > 1:
        raise ImageFileError(path, "it is an animation. Save the frame you want as a picture first.")
    stored = imagecodecs.avif_decode(data)
    if stored.dtype == np.uint16:
        stored = _to_16_bits(stored, _avif_bits(data))
    info = header.info
    return _decoded(
        stored,
        format="AVIF",
        exif=_with_prefix(info.get("exif")),  # Pillow writes the rotation of the file into its orientation
        icc=info.get("icc_profile"),
        xmp=info.get("xmp"),
        cicp=_cicp(data, info.get("icc_profile")),
    )


def heif_size(data: Block) -> tuple[int, int] | None:
    """Width and height of the largest picture that a HEIF file declares, as stored; None if it declares none.

    libheif is not used, which a damaged file may crash.

    Args:
        data: the content of the file.
    """
    sizes = []
    at = data.find(b"ispe", 0, _METADATA)
    while at >= 0 and at + 16 <= len(data):
        size = struct.unpack_from(">LL", data, at + 8)
        if math.prod(size) <= _LARGEST:
            sizes.append(size)
        at = data.find(b"ispe", at + 4, _METADATA)
    return max(sizes, key=math.prod, default=None)


def require_pi_heif(path: Path) -> ModuleType:
    """The package pi-heif.

    Raises:
        ImageFileError: when it is not installed; `path` is the file that needs it.
    """
    try:
        import pi_heif
    except ImportError:
        raise ImageFileError(
            path, "HEIC needs one more package: pip install 'unblur[heif]'. Or convert it to JPEG or TIFF first."
        ) from None
    return pi_heif


def _decoded(stored: np.ndarray, **values: Any) -> Decoded:
    stored = stored if stored.ndim == 3 else stored[..., None]
    has_alpha = stored.shape[2] in (2, 4)
    return Decoded(
        samples=stored[..., :-1] if has_alpha else stored,
        alpha=stored[..., -1] if has_alpha else None,
        lossless=False,
        **values,
    )


def _cicp(data: bytes, icc: bytes | None) -> tuple[int, int] | None:
    """Primaries and transfer function of the first colour box that names them; None for those of sRGB."""
    at = data.find(b"colrnclx")
    if icc or at < 0 or at + 12 > len(data):
        return None
    primaries, transfer = (int.from_bytes(data[at + 8 + 2 * i : at + 10 + 2 * i], "big") for i in range(2))
    return cicp_beyond_srgb(primaries, transfer)


def _with_prefix(exif: bytes | None) -> bytes | None:
    return EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX) if exif else None


def _to_16_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Values from 0 to 2^bits - 1 as uint16 from 0 to 65535, rounded."""
    top = 2**bits - 1
    return ((values.astype(np.uint32) * 65_535 + top // 2) // top).astype(np.uint16)


def _avif_bits(data: bytes) -> int:
    """The bits of a sample: 8, 10 or 12, from the AV1 configuration box."""
    flags = data[data.index(b"av1C") + 6]
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10
