"""Read and write PNG at every depth: the pixels, and the chunks with the metadata.

Pillow reduces 16-bit colour to 8 bits without a warning, so imagecodecs decodes the pixels of 16-bit files and encodes
those of all files. Pillow decodes the other files, and reads the metadata.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from unblur.image_io.photo import Decoded, ImageFileError, Photo, cicp_beyond_srgb, refuse_if_huge
from unblur.image_io.pillow_decode import decode_with_pillow, open_with_pillow

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_XMP = b"XML:com.adobe.xmp\0"
_METRE = 0.0254

Chunks = list[tuple[bytes, bytes]]


def decode_png(data: bytes, path: Path, max_pixels: int) -> Decoded:
    """Decode a PNG of any depth and colour type.

    Args:
        data: the content of the file.
        path: name of the file in messages.
        max_pixels: a picture with more pixels is refused.

    Raises:
        ImageFileError: when it is damaged, animated or too large.
    """
    chunks = _read_chunks(data, path)
    width, height, bits, colour_type = struct.unpack_from(">IIBB", chunks[0][1])
    refuse_if_huge(path, width, height, max_pixels)
    for name, content in chunks:
        if name == b"acTL" and int.from_bytes(content[:4], "big") > 1:
            raise ImageFileError(path, "it is an animated PNG. Save the frame you want as a picture first.")
    # Pillow ignores EXIF and text after the pixels, so the pixels are moved to the end.
    chunks.sort(key=lambda chunk: chunk[0] in (b"IDAT", b"IEND"))
    data = _join_chunks(chunks)
    if bits <= 8:
        decoded = decode_with_pillow(data, path, "PNG", max_pixels)
    else:
        decoded = _decode_16_bit(data, chunks, path, max_pixels)
    key = next((content for name, content in chunks if name == b"tRNS"), None)
    if key is not None and colour_type in (_GREY, _RGB):
        decoded.alpha = _alpha_of_colour_key(decoded.samples, key, bits)
    decoded.native = tuple(
        (name.decode("ascii"), content) for name, content in chunks if name in _KEPT and not content.startswith(_XMP)
    )
    named = next((content for name, content in chunks if name == b"cICP" and len(content) == 4), None)
    decoded.cicp = None if named is None else cicp_beyond_srgb(named[0], named[1])
    return decoded


def encode_png(samples: np.ndarray, photo: Photo) -> bytes:
    """A PNG file of `samples` `(H, W, C)`, uint8 or uint16, C = 1, 2, 3 or 4, with the metadata of `photo`."""
    from imagecodecs import png_encode

    pixels = np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    plain = _read_chunks(bytes(png_encode(pixels)), Path("the new PNG"))
    chunks = [chunk for chunk in plain if chunk[0] == b"IHDR"]
    if photo.cicp and photo.format != "PNG":  # that of a PNG is among its own chunks
        chunks.append((b"cICP", bytes((*photo.cicp, 0, 1))))
    if photo.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(photo.icc)))
    if photo.dpi:
        horizontal, vertical = (round(value / _METRE) for value in photo.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", horizontal, vertical, 1)))
    if photo.exif:
        chunks.append((b"eXIf", photo.exif.removeprefix(b"Exif\0\0")))
    if photo.xmp:
        chunks.append((b"iTXt", _XMP + b"\0\0\0\0" + photo.xmp))
    if photo.format == "PNG":
        chunks += [(name.encode("ascii"), content) for name, content in photo.native]
    chunks += [chunk for chunk in plain if chunk[0] in (b"IDAT", b"IEND")]
    return _join_chunks(chunks)


def _read_chunks(data: bytes, path: Path) -> Chunks:
    chunks: Chunks = []
    position = len(_SIGNATURE)
    while not (chunks and chunks[-1][0] == b"IEND"):
        if position + 12 > len(data):
            raise _cut_short(path)
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            raise _cut_short(path)
        content = data[position + 8 : end]
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ImageFileError(path, "the file is damaged (a checksum is wrong). Copy it again.")
        chunks.append((name, content))
        position = end + 4
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise ImageFileError(path, "the file is damaged (it has no PNG header). Copy it again.")
    return chunks


def _cut_short(path: Path) -> ImageFileError:
    return ImageFileError(path, "the file is cut short. Copy it again from where it came.")


def _join_chunks(chunks: Chunks) -> bytes:
    parts = [_SIGNATURE]
    for name, content in chunks:
        parts += [struct.pack(">I", len(content)), name, content]
        parts.append(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))
    return b"".join(parts)


def _decode_16_bit(data: bytes, chunks: Chunks, path: Path, max_pixels: int) -> Decoded:
    from imagecodecs import PngError, png_decode

    # The decoder gets only the chunks with the pixels; otherwise it would apply a colour key or a gamma value.
    bare = _join_chunks([chunk for chunk in chunks if chunk[0] in (b"IHDR", b"IDAT", b"IEND")])
    try:
        picture = np.atleast_3d(png_decode(bare))  # (H, W, C)
    except PngError as error:
        raise ImageFileError(path, "the picture data is damaged. Copy it again.") from error
    colour_type = chunks[0][1][9]
    has_alpha = colour_type in (4, 6)
    image = open_with_pillow(data, path, "PNG", max_pixels)  # reads header and metadata, not the pixels
    return Decoded(
        samples=picture[..., :-1] if has_alpha else picture,
        alpha=picture[..., -1] if has_alpha else None,
        format="PNG",
        exif=image.info.get("exif"),
        icc=image.info.get("icc_profile"),
        dpi=image.info.get("dpi"),
        xmp=image.info.get("xmp"),
        mode={0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}[colour_type],
    )


def _alpha_of_colour_key(samples: np.ndarray, key: bytes, bits: int) -> np.ndarray:
    """An alpha channel that is 0 where the colour equals the key (tRNS), and opaque elsewhere."""
    colour = np.array(struct.unpack_from(f">{samples.shape[2]}H", key)) & (2**bits - 1)
    top = np.iinfo(samples.dtype).max
    if bits < 8:
        colour = colour * (top // (2**bits - 1))  # Pillow scales 1, 2 and 4 bits to the full range
    return np.where((samples == colour).all(axis=-1), 0, top).astype(samples.dtype)
