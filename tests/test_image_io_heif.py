"""HEIC and AVIF are read upright, with all their bits and their metadata."""

from __future__ import annotations

import io
import sys

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from heic_file import HEIC
from unblur.image_io import ImageFileError, Photo, decode_photo, read_photo, write_photo
from unblur.image_io.size import picture_size
from unblur.pipeline.in_memory import restore_bytes

ROWS, COLUMNS = np.mgrid[0:24, 0:32]
STORED = np.stack([COLUMNS / 31, ROWS / 23, 1 - COLUMNS / 31], -1)  # (24, 32, 3), the picture as it lies in the file


def avif(picture: np.ndarray = STORED, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(
        buffer, "AVIF", quality=98, subsampling="4:4:4", **options
    )
    return buffer.getvalue()


def avif_of_bits(bits: int, picture: np.ndarray = STORED) -> bytes:
    levels = (picture * (2**bits - 1)).round().astype(np.uint16)
    return imagecodecs.avif_encode(levels, level=imagecodecs.AVIF.QUALITY.LOSSLESS, bitspersample=bits)


def distinct(photo: Photo) -> int:
    return len(np.unique(photo.pixels))


@pytest.fixture
def heic(tmp_path):
    pytest.importorskip("pi_heif", reason="pip install 'unblur[heif]'")
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(HEIC)
    return path


def test_a_heic_is_read_upright_with_10_bits(heic):
    photo = read_photo(heic)
    assert (photo.format, photo.depth, photo.lossless) == ("HEIF", "uint16", False)
    np.testing.assert_allclose(photo.pixels, np.rot90(STORED, -1), atol=0.02)
    np.testing.assert_allclose(photo.pixels * 1023, np.round(photo.pixels * 1023), atol=0.02)  # levels of 10 bits
    assert distinct(photo) > 256
    assert picture_size(heic) == (64, 64), "as it is coded, before it is cropped"


def test_a_heic_becomes_a_16_bit_png_with_its_exif(heic, tmp_path):
    content, result = restore_bytes(heic.read_bytes(), name="IMG_1.HEIC")
    assert result.output.name == "IMG_1.restored.png"
    written = decode_photo(content)
    assert written.depth == "uint16"
    np.testing.assert_array_equal(written.pixels, read_photo(heic).pixels)
    exif = Image.open(io.BytesIO(content)).getexif()
    assert (exif[271], exif[274]) == ("Phone", 1)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_an_avif_keeps_its_bits(bits):
    photo = decode_photo(avif_of_bits(bits) if bits > 8 else avif())
    assert (photo.format, photo.depth) == ("AVIF", "uint8" if bits == 8 else "uint16")
    np.testing.assert_allclose(photo.pixels, STORED, atol=0.02 if bits == 8 else 1 / 2**bits)
    assert float(photo.pixels.max()) == 1.0


def test_an_avif_is_upright_and_keeps_its_metadata(tmp_path):
    exif = Image.Exif()
    exif[271], exif[274] = "Phone", 6
    photo = decode_photo(avif(exif=exif.tobytes(), xmp=b"<x:xmpmeta/>", icc_profile=b"profile"))
    np.testing.assert_allclose(photo.pixels, np.rot90(STORED, -1), atol=0.02)
    assert (photo.xmp, photo.icc) == (b"<x:xmpmeta/>", b"profile")
    write_photo(photo, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert (written.getexif()[271], written.getexif()[274]) == ("Phone", 1)


def test_grey_and_transparent_avif(tmp_path):
    assert decode_photo(avif_of_bits(10, STORED[..., 0])).pixels.shape == (24, 32, 1)
    photo = decode_photo(avif(np.dstack([STORED, STORED[..., :1]])))
    assert photo.alpha is not None
    np.testing.assert_allclose(photo.alpha, STORED[..., 0], atol=0.02)


def test_the_size_of_an_avif_is_known(tmp_path):
    (tmp_path / "a.avif").write_bytes(avif())
    assert picture_size(tmp_path / "a.avif") == (32, 24)


def test_an_animation_is_refused():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "AVIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageFileError, match="it is an animation"):
        decode_photo(buffer.getvalue())


@pytest.mark.parametrize("kind", ["heic", "avif"])
def test_huge_and_damaged_files_are_refused(kind):
    if kind == "heic":
        pytest.importorskip("pi_heif", reason="pip install 'unblur[heif]'")
    data = HEIC if kind == "heic" else avif()
    with pytest.raises(ImageFileError, match=r"the limit is 0\.0001 megapixels"):
        decode_photo(data, max_pixels=100)
    for length in (40, len(data) // 2, len(data) - 30):
        with pytest.raises(ImageFileError, match="damaged or cut short"):
            decode_photo(data[:length])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(ImageFileError, match=r"IMG_1.HEIC: HEIC needs one more package: pip install 'unblur\[heif\]'"):
        decode_photo(HEIC, "IMG_1.HEIC")


def with_colours(data: bytes, primaries: int, transfer: int) -> bytes:
    """An AVIF file that names its colours by these numbers of H.273."""
    at = data.index(b"colrnclx") + 8
    return data[:at] + bytes((0, primaries, 0, transfer)) + data[at + 4 :]


@pytest.mark.parametrize("colours", [(9, 16), (12, 13)])  # HDR of a television, P3 of a telephone
def test_colours_that_are_not_srgb_are_named_in_a_png_and_in_a_note_elsewhere(tmp_path, colours):
    photo = decode_photo(with_colours(avif(), *colours), "a.avif")
    assert photo.cicp == colours
    assert write_photo(photo, tmp_path / "a.png") == []
    assert b"cICP" + bytes((*colours, 0, 1)) in (tmp_path / "a.png").read_bytes()
    again = read_photo(tmp_path / "a.png")
    assert again.cicp == colours
    write_photo(again, tmp_path / "b.png")
    assert (tmp_path / "b.png").read_bytes().count(b"cICP") == 1
    assert "The colours of the photo are not sRGB" in write_photo(again, tmp_path / "a.jpg")[0]


@pytest.mark.parametrize("colours", [(1, 13), (1, 1), (2, 2), (1, 6)])
def test_colours_that_are_shown_as_srgb_need_no_note(tmp_path, colours):
    photo = decode_photo(with_colours(avif(), *colours), "a.avif")
    assert photo.cicp is None
    assert write_photo(photo, tmp_path / "a.jpg") == []


def test_a_picture_of_10_bits_is_not_called_one_of_16(tmp_path):
    photo = decode_photo(avif_of_bits(10), "a.avif")
    assert write_photo(photo, tmp_path / "a.jpg") == [
        "The 10-bit or 12-bit photo was saved as 8-bit; JPEG holds no more."
    ]
