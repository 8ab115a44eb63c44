"""A photo that was read: upright pixels, and the metadata that are written with them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from unblur.types import UnblurError

Depth = Literal["uint8", "uint16", "float32"]
Format = Literal["JPEG", "PNG", "TIFF", "WEBP"]
"""The formats that are written."""

FileFormat = Literal["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP"]
"""The formats that are read."""

MAX_PIXELS = 500_000_000
"""By default, a file whose header declares more pixels is refused before anything is decoded."""

MAX_BYTES = 4 * 2**30
"""By default, a larger file is refused before it is read; no TIFF can be larger."""


class ImageFileError(UnblurError):
    """A file that cannot be read or written.

    Args:
        path: the file, or what data in memory are called; the message begins with it.
        trouble: one sentence that says what is wrong, and one that says what to do.
    """

    def __init__(self, path: Path, trouble: str) -> None:
        # A file name may hold a line break; the message must stay on one line.
        name = "".join(character if character.isprintable() else "?" for character in str(path))
        super().__init__(f"{name}: {trouble}")


@dataclass(frozen=True)
class Photo:
    """A picture and everything its file carried.

    Attributes:
        pixels: `(H, W, C)` float32 in [0, 1], C = 1 or 3, upright. `value = pixels * scale + offset`
            gives back the numbers of a float file.
        alpha: `(H, W)` float32 in [0, 1], or None. The colours are not multiplied by it.
        depth: what one sample was in the file.
        format: what the file was.
        exif: an EXIF block beginning with `Exif\\0\\0`, its orientation already 1 and its thumbnail dropped.
        icc: the colour profile.
        dpi: horizontal and vertical resolution, in dots per inch.
        xmp: the XMP packet, its orientation already 1.
        scale: what pixels were divided by (a power of two, so that this loses nothing).
        offset: what was subtracted before that.
        mode: the colour mode in the file, as Pillow names it ("CMYK", "P", ...).
        lossless: whether the file kept every sample exactly.
        jpeg_tables: the quantisation tables of a JPEG, luminance first.
        extra_sample: TIFF's code for what `alpha` is (0 unspecified, 2 transparency).
        native: blocks only this format has, as (name, bytes): PNG chunks, JPEG segments, TIFF tags.
        notes: plain sentences for the person about what reading changed.
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
    notes: list[str] = field(default_factory=list)

    def with_pixels(self, pixels: np.ndarray) -> Photo:
        """The same photo showing other pixels, `(H, W, C)` of the same shape (`(H, W)` will do when C = 1).

        Raises:
            ValueError: when the shape differs, because the alpha and the EXIF sizes would no longer fit.
        """
        pixels = np.asarray(pixels, dtype=np.float32)
        if pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape != self.pixels.shape:
            raise ValueError(f"this photo is {self.pixels.shape}, the new pixels are {pixels.shape}.")
        return replace(self, pixels=pixels)


@dataclass
class Decoded:
    """What a decoder found in a file, not yet upright and not yet scaled to [0, 1].

    Attributes:
        samples: `(H, W, C)` uint8, uint16 or float32.
        alpha: `(H, W)` of the same type, or None.
        orientation: 1 to 8 where the decoder knows it; None to look it up in EXIF and XMP.

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
    notes: list[str] = field(default_factory=list)


def refuse_if_huge(path: Path, width: int, height: int, max_pixels: int) -> None:
    """Raise when a header declares more than `max_pixels`, or none; called before decoding.

    Raises:
        ImageFileError: naming both sizes.
    """
    if width < 1 or height < 1:
        raise ImageFileError(path, f"the picture is {width} x {height}, so it is empty. Export it again.")
    if width * height > max_pixels:
        raise ImageFileError(
            path,
            f"it declares {width} x {height} pixels; the limit is {max_pixels / 1e6:g} megapixels. "
            "Crop it or cut it into parts first.",
        )
