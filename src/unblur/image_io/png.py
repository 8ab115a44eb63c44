"""PNG at every depth: chunks, 16-bit decoding, colour keys, and an encoder for 8 and 16 bits.

Pillow reads 16-bit colour PNG as 8-bit without a word, so 16-bit pictures are decoded by OpenCV, and
both depths are written here, by the same few lines.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from unblur.image_io.photo import Decoded, ImageFileError, Photo, refuse_if_huge
from unblur.image_io.pillow_decode import decode_with_pillow, keep_quiet, open_with_pillow

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE = 0, 2, 3
_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
_KEPT = {b"gAMA", b"cHRM", b"sRGB", b"cICP", b"tEXt", b"zTXt", b"iTXt", b"tIME"}
_XMP = b"XML:com.adobe.xmp\0"
_METRE = 0.0254

Chunks = list[tuple[bytes, bytes]]


def decode_png(data: bytes, path: Path) -> Decoded:
    """Decode a PNG of any depth and colour type.

    Raises:
        ImageFileError: when it is damaged, animated or too big.
    """
    chunks = _read_chunks(data, path)
    width, height, bits, colour_type = struct.unpack_from(">IIBB", chunks[0][1])
    refuse_if_huge(path, width, height)
    for name, content in chunks:
        if name == b"acTL" and int.from_bytes(content[:4], "big") > 1:
            raise ImageFileError(path, "it is an animated PNG. Save the frame you want as a picture first.")
    # Pillow misses EXIF and text that stand behind the pixels, so these are moved to the end.
    chunks.sort(key=lambda chunk: chunk[0] in (b"IDAT", b"IEND"))
    data = _join_chunks(chunks)
    decoded = decode_with_pillow(data, path, "PNG") if bits <= 8 else _decode_16_bit(data, chunks, path)
    key = next((content for name, content in chunks if name == b"tRNS"), None)
    if key is not None and colour_type in (_GREY, _RGB):
        decoded.alpha = _alpha_of_colour_key(decoded.samples, key, bits)
    decoded.native = tuple(
        (name.decode("ascii"), content) for name, content in chunks if name in _KEPT and not content.startswith(_XMP)
    )
    return decoded


def encode_png(samples: np.ndarray, photo: Photo) -> bytes:
    """A PNG of `samples` `(H, W, C)`, uint8 or uint16, C = 1, 2, 3 or 4, with what `photo` carries."""
    height, width, channels = samples.shape
    bits = 8 * samples.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, bits, _COLOUR_TYPE[channels], 0, 0, 0)
    chunks: Chunks = [(b"IHDR", header)]
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
    chunks += [(b"IDAT", _compress(samples)), (b"IEND", b"")]
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


def _decode_16_bit(data: bytes, chunks: Chunks, path: Path) -> Decoded:
    import cv2

    # OpenCV sees only the chunks that hold the pixels: it would otherwise apply some of the rest
    # (orientation, colour key) and print warnings about profiles.
    bare = _join_chunks([chunk for chunk in chunks if chunk[0] in (b"IHDR", b"IDAT", b"IEND")])
    try:
        picture = cv2.imdecode(np.frombuffer(bare, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageFileError(path, "the picture data is damaged. Copy it again.") from error
    if picture is None or picture.dtype != np.uint16:
        raise ImageFileError(path, "the picture data is damaged. Copy it again.")
    colour_type = chunks[0][1][9]
    picture = picture if picture.ndim == 3 else picture[..., None]
    has_alpha = colour_type in (4, 6)
    # OpenCV's order is blue, green, red; grey with alpha comes as three equal channels and alpha.
    samples = picture[..., :1] if colour_type in (0, 4) else picture[..., 2::-1]
    with keep_quiet():
        image = open_with_pillow(data, path)  # reads the header and the metadata, not the pixels
        return Decoded(
            samples=samples,
            alpha=picture[..., 3] if has_alpha else None,
            format="PNG",
            exif=image.info.get("exif"),
            icc=image.info.get("icc_profile"),
            dpi=image.info.get("dpi"),
            xmp=image.info.get("xmp"),
            mode={0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}[colour_type],
        )


def _alpha_of_colour_key(samples: np.ndarray, key: bytes, bits: int) -> np.ndarray:
    """Transparent where the colour equals the key (tRNS), opaque elsewhere."""
    colour = np.array(struct.unpack_from(f">{samples.shape[2]}H", key)) & (2**bits - 1)
    top = np.iinfo(samples.dtype).max
    if bits < 8:
        colour = colour * (top // (2**bits - 1))  # Pillow brings 1, 2 and 4 bits to the full range
    return np.where((samples == colour).all(axis=-1), 0, top).astype(samples.dtype)


def _compress(samples: np.ndarray) -> bytes:
    """Filter each row the best of three ways and deflate, some rows at a time to keep memory small."""
    height, _, channels = samples.shape
    big_endian = samples.astype(samples.dtype.newbyteorder(">"), copy=False)
    rows = np.ascontiguousarray(big_endian).reshape(height, -1).view(np.uint8)
    step = channels * samples.dtype.itemsize  # bytes from one pixel to the next
    deflate = zlib.compressobj(6)
    parts = []
    above = np.zeros((1, rows.shape[1]), np.uint8)
    at_once = max(1, 4_000_000 // rows.shape[1])
    for top in range(0, height, at_once):
        block = rows[top : top + at_once]
        up = np.concatenate([above, block[:-1]])
        left = np.zeros_like(block)
        left[:, step:] = block[:, :-step]
        mean = ((left.astype(np.uint16) + up) // 2).astype(np.uint8)
        # Filter types 1, 2, 3: minus the left neighbour, the one above, their mean.
        filtered = np.stack([block - left, block - up, block - mean])
        best = np.abs(filtered.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64).argmin(axis=0)
        chosen = filtered[best, np.arange(len(block))]
        parts.append(deflate.compress(np.column_stack([(best + 1).astype(np.uint8), chosen]).tobytes()))
        above = block[-1:]
    parts.append(deflate.flush())
    return b"".join(parts)
