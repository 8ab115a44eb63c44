"""Decode pictures of at most 8 bits with Pillow: JPEG, WebP, GIF, BMP, most PNG, some TIFF."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from unblur.image_io.photo import Decoded, FileFormat, ImageFileError, refuse_if_huge

# `Image.open` checks the size against a limit that is global. These readers do not, so that no global limit has to
# be changed while other threads read.
READERS: dict[FileFormat, Callable[[IO[bytes]], Image.Image]] = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


def open_with_pillow(data: bytes, path: Path, format: FileFormat, max_pixels: int) -> Image.Image:
    """Open a picture without decoding it.

    Raises:
        ImageFileError: when its header declares more than `max_pixels`.
    """
    image = READERS[format](io.BytesIO(data))
    refuse_if_huge(path, *image.size, max_pixels)
    return image


def decode_with_pillow(data: bytes, path: Path, format: FileFormat, max_pixels: int) -> Decoded:
    """Decode the only picture in `data`.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        format: format of the file.
        max_pixels: a picture with more pixels is refused.

    Raises:
        ImageFileError: when it is animated, too large or of an unsupported colour mode.
        Exception: of any kind, when it is damaged.
    """
    image = open_with_pillow(data, path, format, max_pixels)
    notes = []
    if image.format == "MPO":
        notes.append("The file holds a second picture (a preview or gain map) that is not kept.")
    elif format != "TIFF" and getattr(image, "n_frames", 1) > 1:
        raise ImageFileError(path, "it is an animation. Save the frame you want as a picture first.")
    tables = _tables(image)
    image.load()
    mode, info = image.mode, dict(image.info)
    icc = info.get("icc_profile")
    if mode == "CMYK":
        image, icc, note = _cmyk_to_rgb(image, icc)
        notes.append(note)
    image, note = _simplify(image, path)
    notes += note
    stored = np.asarray(image)
    stored = stored if stored.ndim == 3 else stored[..., None]
    has_alpha = stored.shape[2] in (2, 4)
    return Decoded(
        samples=stored[..., :-1] if has_alpha else stored,
        alpha=stored[..., -1] if has_alpha else None,
        format=format,
        # Pillow rotates a TIFF to be upright while loading it.
        orientation=1 if format == "TIFF" else None,
        exif=info.get("exif"),
        icc=icc,
        dpi=info.get("dpi"),
        xmp=info.get("xmp"),
        mode=mode,
        lossless=not (format == "JPEG" or (format == "WEBP" and _is_lossy_webp(data))),
        jpeg_tables=tables,
        native=_jpeg_segments(image_segments(data)) if format == "JPEG" else (),
        notes=notes,
    )


def _is_lossy_webp(data: bytes) -> bool:
    """Whether the pixels of a WebP file are in a chunk `VP8 `; those without loss are in `VP8L`."""
    position = 12
    while position + 8 <= len(data):
        name, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return name == b"VP8 "
        position += 8 + length + length % 2
    return True


def image_segments(data: bytes) -> list[tuple[int, bytes]]:
    """The (marker, content) segments of a JPEG file before its picture data."""
    segments = []
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        segments.append((data[position + 1], data[position + 4 : position + 2 + length]))
        position += 2 + length
    return segments


def _jpeg_segments(segments: list[tuple[int, bytes]]) -> tuple[tuple[str, bytes], ...]:
    """The segments with captions (IPTC, in APP13) and the comment."""
    names = {0xED: "APP13", 0xFE: "COM"}
    return tuple((names[marker], content) for marker, content in segments if marker in names)


def _tables(image: Image.Image) -> tuple[tuple[int, ...], ...] | None:
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return None
    return tuple(tuple(table) for _, table in sorted(image.quantization.items()))


def _simplify(image: Image.Image, path: Path) -> tuple[Image.Image, list[str]]:
    """The picture as L, LA, RGB or RGBA, and notes for the user about the conversion."""
    mode = image.mode
    if mode in ("L", "RGB") and image.format == "PNG":
        return image, []  # `decode_png` handles a colour key, at every depth
    if mode == "P":
        colours = "RGBA" if image.has_transparency_data else "RGB"
        return image.convert(colours), ["The palette picture was converted to full colour."]
    if mode == "1":
        return image.convert("L"), ["The black-and-white picture was converted to 8-bit grey."]
    if mode in ("L", "LA", "RGB", "RGBA"):
        return image.convert(f"{mode}A") if "transparency" in image.info else image, []
    targets = {"PA": "RGBA", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB"}
    if mode not in targets:
        raise ImageFileError(path, f"its colour mode {mode} is not supported. Convert it to RGB first.")
    return image.convert(targets[mode]), [f"The picture was converted from {mode} to {targets[mode]}."]


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes, str]:
    """The picture in sRGB, the sRGB profile, and a note. The picture's own profile is used if there is one."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(icc or b""))
        converted = ImageCms.profileToProfile(image, own, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        converted = None
    if converted is None:
        note = "The CMYK picture was converted to sRGB without a colour profile; its colours are approximate."
        return image.convert("RGB"), srgb.tobytes(), note
    return converted, srgb.tobytes(), "The CMYK picture was converted to sRGB through its colour profile."
