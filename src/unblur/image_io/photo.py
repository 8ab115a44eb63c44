"""A photo in memory: upright pixels and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from unblur.types import UnblurError

Depth = Literal["uint8", "uint16", "float32"]
Format = Literal["JPEG", "PNG", "TIFF", "WEBP"]
"""Formats that can be written."""

FileFormat = Literal["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "HEIF", "AVIF", "RAW"]
"""Formats that can be read."""

MAX_PIXELS = 500_000_000
"""Default limit of pixels. A file whose header declares more is refused before it is decoded."""

MAX_BYTES = 4 * 2**30
"""Default limit of a file's size in bytes: 4 GB, the maximum of TIFF. A larger file is refused before it is read."""


class ImageFileError(UnblurError):
    """A file that cannot be read or written.

    Args:
        path: the file, or a name for data in memory; the message begins with it.
        trouble: one sentence that says what is wrong, and one that says what to do.
    """

    def __init__(self, path: Path, trouble: str) -> None:
        # A file name may hold a line break; the message must stay on one line.
        name = "".join(character if character.isprintable() else "?" for character in str(path))
        super().__init__(f"{name}: {trouble}")
        self.trouble = trouble


@dataclass(frozen=True)
class Photo:
    """A picture and the metadata of its file.

    Attributes:
        pixels: `(H, W, C)` float32 in [0, 1], C = 1 or 3, upright. For a floating-point file, its values are
            `pixels * scale + offset`.
        alpha: `(H, W)` float32 in [0, 1], or None. The colours are not multiplied by it.
        depth: type of a sample in the file.
        format: format of the file.
        exif: an EXIF block beginning with `Exif\\0\\0`, with orientation 1 and without thumbnail.
        icc: the colour profile.
        dpi: horizontal and vertical resolution, in dots per inch.
        xmp: the XMP packet, with orientation 1.
        scale: the pixels were divided by it; a power of two, so that no bits are lost.
        offset: it was subtracted before the division.
        mode: the colour mode in the file, as Pillow names it ("CMYK", "P", ...).
        lossless: whether the file kept every sample exactly.
        jpeg_tables: the quantisation tables of a JPEG, luminance first.
        extra_sample: TIFF's code for the meaning of `alpha` (0 unspecified, 2 transparency).
        native: blocks that only this format has, as (name, bytes): PNG chunks, JPEG segments.
        cicp: primaries and transfer function of the colours, by the numbers of ITU-T H.273, if the file names them and
            they are not shown as sRGB; only PNG can hold them.
        linear: whether the pixels are proportional to light, as in camera RAW. They are written with the curve of sRGB.
        notes: sentences for the user about what was changed while reading.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    depth: Depth = "uint8"
    format: FileFormat = "PNG"
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    scale: float = 1.0
    offset: float = 0.0
    mode: str = "RGB"
    lossless: bool = True
    jpeg_tables: tuple[tuple[int, ...], ...] | None = None
    extra_sample: int = 2
    native: tuple[tuple[str, bytes], ...] = ()
    cicp: tuple[int, int] | None = None
    linear: bool = False
    notes: list[str] = field(default_factory=list)

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The photo with other pixels, `(H, W, C)` of the same shape; `(H, W)` is accepted when C = 1.

        Raises:
            ValueError: when the shape differs; the alpha and the EXIF sizes would not fit.
        """
        pixels = np.asarray(pixels, dtype=np.float32)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"this photo is {self.pixels.shape}, the new pixels are {pixels.shape}.")
        return replace(self, pixels=pixels)


@dataclass
class Decoded:
    """The content of a file, as decoded: neither rotated to be upright nor scaled to [0, 1].

    Attributes:
        samples: `(H, W, C)` uint8, uint16 or float32.
        alpha: `(H, W)` of the same type, or None.
        orientation: 1 to 8 if the decoder has found it; None to read it from EXIF or XMP.

    The other attributes are those of `Photo`.
    """

    samples: np.ndarray
    format: FileFormat
    alpha: np.ndarray | None = None
    orientation: int | None = None
    exif: bytes | None = None
    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    xmp: bytes | None = None
    mode: str = "RGB"
    lossless: bool = True
    jpeg_tables: tuple[tuple[int, ...], ...] | None = None
    extra_sample: int = 2
    native: tuple[tuple[str, bytes], ...] = ()
    cicp: tuple[int, int] | None = None
    linear: bool = False
    notes: list[str] = field(default_factory=list)


_PRIMARIES_OF_SRGB = (1, 2)  # its own, and none named
_TRANSFERS_LIKE_SRGB = (1, 2, 6, 13)  # those of BT.709 and BT.601, none named, and its own


def cicp_beyond_srgb(primaries: int, transfer: int) -> tuple[int, int] | None:
    """Primaries and transfer function by the numbers of ITU-T H.273; None for those that are shown as sRGB."""
    if primaries in _PRIMARIES_OF_SRGB and transfer in _TRANSFERS_LIKE_SRGB:
        return None
    return (primaries, transfer) if max(primaries, transfer) < 256 else None


def refuse_if_huge(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Check the size that a header declares, before decoding.

    Raises:
        ImageFileError: when there are more than `max_pixels` or no pixels; the message names the size.
    """
    if width < 1 or height < 1:
        raise ImageFileError(path, f"the picture is {width} x {height}, so it is empty. Export it again.")
    if width * height > max_pixels:
        raise ImageFileError(
            path,
            f"it declares {width} x {height} pixels; the limit is {max_pixels / 1e6:g} megapixels. "
            "Crop it or cut it into parts first.",
        )
