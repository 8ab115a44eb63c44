"""What a photo carries beside its pixels comes through, and stays true of them."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from test_image_io import HEIGHT, SRGB, WIDTH, XMP, exif_block, picture
from unblur.image_io import Photo, read_photo, write_photo


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_survives_and_tells_the_truth(tmp_path, suffix, order):
    thumbnail = b"\xff\xd8 a stale blurred thumbnail \xff\xd9"
    Image.fromarray(picture("RGB", "uint8")).save(
        tmp_path / "a.jpg", exif=exif_block(6, order, thumbnail=thumbnail), xmp=XMP % 6
    )

    write_photo(read_photo(tmp_path / "a.jpg"), tmp_path / f"b{suffix}")

    data = (tmp_path / f"b{suffix}").read_bytes()
    assert b"stale blurred thumbnail" not in data
    assert b'tiff:Orientation="1"' in data and b"Quay" in data
    with Image.open(tmp_path / f"b{suffix}") as image:
        exif = image.getexif()
        assert exif[271] == "Acme Camera"
        assert exif.get(274, 1) == 1
        inner = exif.get_ifd(34665)
        assert inner[37500] == b"MAKERNOTE!"
        assert (inner[40962], inner[40963]) == (HEIGHT, WIDTH)  # turned by a quarter
        assert not exif.get_ifd(1)


def test_tags_that_share_their_bytes_do_not_fill_the_memory(tmp_path):
    """Each of 4000 tags says that it is the whole block: 4000 times 1 MB, if one believes it."""
    tags = [struct.pack("<HHLL", 40_000 + tag, 7, 1_000_000, 60_000) for tag in range(4000)]
    block = b"II*\0" + struct.pack("<LH", 8, len(tags)) + b"".join(tags) + struct.pack("<L", 0)
    Image.fromarray(picture("RGB", "uint8")).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    photo = replace(photo, exif=b"Exif\0\0" + block.ljust(1_060_000, b"x"))
    write_photo(photo, tmp_path / "b.png")
    tracemalloc.start()
    try:
        write_photo(read_photo(tmp_path / "b.png"), tmp_path / "c.tif")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40_000_000


def test_a_maker_note_does_not_move_within_a_jpeg(tmp_path):
    block = exif_block(3)
    Image.fromarray(picture("RGB", "uint8")).save(tmp_path / "a.jpg", exif=block)
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.exif is not None
    assert photo.exif.index(b"MAKERNOTE!") == block.index(b"MAKERNOTE!")


def test_exif_and_profile_of_a_16_bit_tiff_survive_to_png_and_back(tmp_path):
    photo = Photo(
        np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3), depth="uint16", exif=exif_block(1), icc=SRGB
    )
    write_photo(photo, tmp_path / "a.tif")
    write_photo(read_photo(tmp_path / "a.tif"), tmp_path / "b.png")
    last = read_photo(tmp_path / "b.png")
    assert last.icc == SRGB
    assert last.exif is not None and b"Acme Camera\0" in last.exif and b"MAKERNOTE!" in last.exif
    assert np.abs(last.pixels - photo.pixels).max() < 1e-5


def test_captions_comments_and_png_text_are_kept(tmp_path):
    from PIL.PngImagePlugin import PngInfo

    image = Image.fromarray(picture("RGB", "uint8"))
    text = PngInfo()
    text.add_text("Author", "Ada")
    image.save(tmp_path / "a.png", pnginfo=text)
    write_photo(read_photo(tmp_path / "a.png"), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as after:
        assert after.info["Author"] == "Ada"

    iptc = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\x05Quay!"
    segment = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    image.save(tmp_path / "a.jpg", extra=segment, comment=b"At noon")
    write_photo(read_photo(tmp_path / "a.jpg"), tmp_path / "b.jpg")
    assert iptc in (tmp_path / "b.jpg").read_bytes()
    with Image.open(tmp_path / "b.jpg") as after:
        assert after.info["comment"] == b"At noon"


def test_jpeg_is_saved_at_95_or_finer_when_the_source_was(tmp_path):
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for quality, expected in [(60, 95), (99, 99)]:
        image.save(tmp_path / "a.jpg", quality=quality)
        image.save(tmp_path / "expected.jpg", quality=expected)
        write_photo(read_photo(tmp_path / "a.jpg"), tmp_path / "b.jpg", overwrite=True)
        after, wanted = Image.open(tmp_path / "b.jpg"), Image.open(tmp_path / "expected.jpg")
        assert after.quantization == wanted.quantization
        assert [layer[1:3] for layer in after.layer] == [(1, 1)] * 3  # 4:4:4
        assert "progressive" not in after.info


def test_a_grey_profile_is_kept(tmp_path):
    grey = bytearray(SRGB)
    grey[16:20] = b"GRAY"
    for suffix in (".png", ".tif", ".jpg"):
        write_photo(Photo(np.zeros((8, 8, 1), np.float32), icc=bytes(grey)), tmp_path / f"a{suffix}")
        photo = read_photo(tmp_path / f"a{suffix}")
        assert photo.icc == bytes(grey)
        assert photo.pixels.shape == (8, 8, 1)
