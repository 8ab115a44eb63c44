"""Broken and odd picture files, each with what reading it should come to: 'error' or 'ok'."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import tifffile
from PIL import Image

Expectation = Literal["error", "ok"]

RGB = np.random.default_rng(7).integers(0, 256, (40, 56, 3), dtype=np.uint8)
RGB16 = RGB.astype(np.uint16) * 257 + np.uint16(3)
FLOAT = RGB[..., 0].astype(np.float32)


def make_odd_files(folder: Path) -> list[tuple[Path, Expectation]]:
    """Write the files into `folder` and say what reading each should come to."""
    jpeg, png, webp, gif = (_by_pillow(format) for format in ("JPEG", "PNG", "WEBP", "GIF"))
    tiff = _tiff(RGB16, photometric="rgb")
    lzw = _by_pillow("TIFF", compression="tiff_lzw")
    errors = {
        "empty.jpg": b"",
        "text.jpg": b"Dear diary, today I took a photograph.\n" * 20,
        "paper.pdf": b"%PDF-1.7\n1 0 obj\n",
        "noise.png": np.random.default_rng(1).bytes(4000),
        "cut.jpg": jpeg[: len(jpeg) // 2],
        "cut_in_header.jpg": jpeg[:30],
        "cut.png": png[: len(png) // 2],
        "cut_in_header.png": png[:20],
        "cut_before_end.png": png[:-12],
        "bad_checksum.png": png[:60] + bytes([png[60] ^ 255]) + png[61:],
        "cut_16_bit.png": _png(16, 2, 56, 40)[:-30],
        "empty_pixels_16_bit.png": _png(16, 2, 56, 40, pixels=b""),
        "half_the_pixels_16_bit.png": _png(16, 2, 56, 40, pixels=bytes(20 * 337)),
        "cut.webp": webp[: len(webp) // 2],
        "cut.gif": gif[: len(gif) // 2],
        "cut.tif": tiff[: len(tiff) // 2],
        "cut_lzw.tif": lzw[: len(lzw) // 2],
        "cut_in_header.tif": tiff[:6],
        "directory_outside.tif": b"II*\0" + struct.pack("<L", 10**6) + bytes(64),
        "huge.png": _png(8, 2, 60_000, 60_000),
        "huge_16_bit.png": _png(16, 2, 60_000, 60_000),
        "huge.tif": _tiff_of_size(60_000, 60_000),
        "huge_tile.tif": _tiff_of_size(10, 10, tile=200_000),
        "directories_in_a_circle.tif": _tiff_in_a_circle(),
        "many_pages.tif": _tiff(np.zeros((1001, 4, 4), np.uint8), photometric="minisblack", metadata=None),
        "too_large_numbers.tif": _tiff(np.full((4, 4), 3.4e38, np.float32)),
        "too_negative_numbers.tif": _tiff(np.where(FLOAT > 100, np.float32(-3.4e38), FLOAT)),
        "huge.bmp": _bmp_of_size(60_000, 60_000),
        "huge.gif": gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:],
        "animated.gif": _animated("GIF"),
        "animated.webp": _animated("WEBP"),
        "animated.png": _animated("PNG"),
        "two_pages.tif": _tiff(np.stack([RGB16, RGB16]), photometric="rgb"),
        "nan.tif": _tiff(np.where(FLOAT > 200, np.nan, FLOAT)),
        "infinite.tif": _tiff(np.where(FLOAT > 200, np.inf, FLOAT)),
        "five_channels.tif": _tiff(np.dstack([RGB16, RGB16[..., :2]]), photometric="rgb"),
        "complex.tif": _tiff(FLOAT.astype(np.complex64)),
        "uint64.tif": _tiff(FLOAT.astype(np.uint64)),
        "cmyk_16_bit.tif": _tiff(np.dstack([RGB16, RGB16[..., 0]]), photometric="separated"),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "modern.avif": b"\0\0\0\x18ftypavif" + bytes(100),
        "film.mp4": b"\0\0\0\x18ftypisom" + bytes(100),
        "camera.nef": tiff,
        "camera.cr3": b"\0\0\0\x18ftypcrx " + bytes(100),
        "starts_like_a.bmp": b"BMW is a make of car." * 10,
    }
    fine = {
        "one_pixel.png": _by_pillow("PNG", Image.new("RGB", (1, 1), (10, 20, 30))),
        "one_row.tif": _tiff(RGB16[:1], photometric="rgb"),
        "really_a_png.jpg": png,
        "no_suffix": jpeg,
        "SHOUTING.JPG": jpeg,
        "accents é 写真.png": png,
        "trailing_bytes.jpg": jpeg + bytes(500),
        "trailing_bytes.png": png + bytes(500),
        "damaged_exif.jpg": _by_pillow("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20)),
        "progressive.jpg": _by_pillow("JPEG", progressive=True),
        "single_frame.gif": gif,
        "windows.bmp": _by_pillow("BMP"),
        "interlaced_16_bit.png": _png(16, 0, 1, 1, b"\0\1\2", interlaced=True),
        "one_pixel_16_bit.png": _png(16, 4, 1, 1, b"\0\1\2\3\4"),
        "too_many_pixels_16_bit.png": _png(16, 2, 2, 2, bytes(10**6)),
        "largest_numbers.tif": _tiff(np.full((4, 4), 1e37, np.float32)),
        "smallest_numbers.tif": _tiff(np.full((4, 4), 1e-42, np.float32)),
        "black_and_white.png": _by_pillow("PNG", Image.fromarray(RGB).convert("1")),
        "palette_transparent.png": _by_pillow("PNG", Image.fromarray(RGB).convert("P"), transparency=3),
        "fax.tif": _by_pillow("TIFF", Image.fromarray(RGB).convert("1"), compression="group4"),
        "jpeg_inside.tif": _by_pillow("TIFF", compression="jpeg"),
        "palette.tif": _by_pillow("TIFF", Image.fromarray(RGB).convert("P")),
        "cmyk.jpg": _by_pillow("JPEG", Image.fromarray(RGB).convert("CMYK")),
        "with_thumbnail.tif": _tiff_with_thumbnail(),
        "negative.tif": _tiff(FLOAT - 100),
        "signed.tif": _tiff((FLOAT - 100).astype(np.int16)),
        "double.tif": _tiff(FLOAT.astype(np.float64)),
        "all_zero.tif": _tiff(FLOAT * 0),
        "big.tif": _tiff(RGB16, photometric="rgb", bigtiff=True),
    }
    made: list[tuple[Path, Expectation]] = []
    for files, expectation in ((errors, "error"), (fine, "ok")):
        for name, content in files.items():
            path = folder / name
            path.write_bytes(content)
            made.append((path, "error" if expectation == "error" else "ok"))
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to(folder / "nothing_here.jpg")
    made += [(folder / name, "error") for name in ("folder.jpg", "dangling.jpg", "missing.jpg")]
    return made


def _by_pillow(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or Image.fromarray(RGB)).save(buffer, format, **options)
    return buffer.getvalue()


def _animated(format: str) -> bytes:
    frames = [Image.fromarray(np.roll(RGB, shift, axis=0)) for shift in (0, 5, 9)]
    return _by_pillow(format, frames[0], save_all=True, append_images=frames[1:])


def _tiff(picture: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, picture, **options)
    return buffer.getvalue()


def _tiff_with_thumbnail() -> bytes:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(RGB16, photometric="rgb")
        writer.write(RGB[::8, ::8], photometric="rgb", subfiletype=1)
    return buffer.getvalue()


def _tiff_of_size(width: int, height: int, tile: int = 0, next_directory: int = 0) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1)]
    if tile:
        tags += [(277, 1), (322, tile), (323, tile), (324, 200), (325, 64)]
    else:
        tags += [(273, 200), (277, 1), (278, height), (279, 64)]
    table = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + table + struct.pack("<L", next_directory) + bytes(300)


def _tiff_in_a_circle() -> bytes:
    """The first directory says that it is the next one, too."""
    return _tiff_of_size(8, 8, next_directory=8)


def _bmp_of_size(width: int, height: int) -> bytes:
    info = struct.pack("<LllHHLLllLL", 40, width, height, 1, 24, 0, 0, 2835, 2835, 0, 0)
    return b"BM" + struct.pack("<LLL", 54 + 300, 0, 54) + info + bytes(300)


def _png(
    bits: int, colour_type: int, width: int, height: int, pixels: bytes | None = None, interlaced: bool = False
) -> bytes:
    """A PNG whose header may promise more than its few pixels hold."""
    rows = bytes(height * (1 + width * 3 * bits // 8)) if width * height < 10**6 else bytes(1000)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, interlaced)),
        (b"IDAT", zlib.compress(rows if pixels is None else pixels)),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body
