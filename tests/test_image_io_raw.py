"""Camera RAW is read as linear light, and written with the tone curve of sRGB."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from dng_file import dng
from fakes import brightening
from unblur.image_io import ImageFileError, decode_photo, encode_photo, raw, read_photo
from unblur.image_io.raw import is_raw
from unblur.image_io.size import picture_size
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.pipeline.in_memory import restore_bytes
from unblur.pipeline.options import Options
from unblur.pipeline.restore import restore_file

ROWS, COLUMNS = np.mgrid[0:48, 0:64]
LIGHT = np.stack([0.2 + 0.5 * COLUMNS / 63, 0.1 + 0.6 * ROWS / 47, 0.4 + 0.2 * np.sin(COLUMNS / 9)], -1)
INSIDE = (slice(4, -4), slice(4, -4))  # demosaicking has fewer neighbours at the border


@pytest.fixture
def rawpy():
    return pytest.importorskip("rawpy", reason="pip install 'unblur[raw]'")


@pytest.fixture
def photo_file(rawpy, tmp_path):
    path = tmp_path / "IMG_1.DNG"
    path.write_bytes(dng(LIGHT))
    return path


def srgb_curve(light: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1, in float64."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_raw_is_linear_light_with_the_white_balance_of_the_camera(photo_file):
    photo = read_photo(photo_file)
    assert (photo.format, photo.depth, photo.linear) == ("RAW", "uint16", True)
    np.testing.assert_allclose(photo.pixels[INSIDE], LIGHT[INSIDE], atol=0.002)
    assert picture_size(photo_file) == (64, 48)


def test_the_brightness_does_not_depend_on_what_the_photo_shows(rawpy, photo_file):
    dark = decode_photo(dng(LIGHT / 4), "a.dng")
    np.testing.assert_allclose(4 * dark.pixels[INSIDE], read_photo(photo_file).pixels[INSIDE], atol=0.003)


def test_raw_is_turned_upright_and_keeps_its_exif(rawpy):
    photo = decode_photo(dng(LIGHT, orientation=6), "a.dng")
    np.testing.assert_allclose(photo.pixels[INSIDE], np.rot90(LIGHT, -1)[INSIDE], atol=0.002)
    content, _ = encode_photo(photo, "PNG")
    exif = Image.open(io.BytesIO(content)).getexif()
    assert (exif[271], exif[274]) == ("Camera", 1)


def test_a_blur_of_the_light_is_a_convolution_of_the_pixels(rawpy):
    """With the tone curve it would not be: this is why RAW is restored before it."""
    generator = np.random.default_rng(0)
    light = np.repeat(np.repeat(generator.uniform(0.01, 0.99, (6, 8, 1)), 8, 0), 8, 1).repeat(3, 2)
    psf = gaussian_psf(1.5, 9)

    def blur(picture: np.ndarray) -> np.ndarray:
        return convolve(torch.from_numpy(picture).float().permute(2, 0, 1)[None], psf)[0].permute(1, 2, 0).numpy()

    seen = decode_photo(dng(blur(light)), "a.dng").pixels
    as_light = np.abs(seen - blur(light))[8:-8, 8:-8].mean()
    with_curve = np.abs(srgb_curve(seen) - blur(srgb_curve(light)))[8:-8, 8:-8].mean()
    assert as_light < 0.003 < 0.02 < with_curve


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_raw_is_restored_before_the_tone_curve_and_written_after_it(photo_file, tmp_path, suffix):
    previews = []
    output = tmp_path / f"a{suffix}"
    result = restore_file(
        photo_file,
        output,
        Options(brightening(tmp_path), force=True),
        preview=lambda *pictures: previews.extend(pictures),
    )
    written = read_photo(output)
    assert (written.depth, written.linear) == ("uint16", False)
    wanted = srgb_curve(LIGHT + 0.1)  # the fake method adds a tenth, of the light
    np.testing.assert_allclose(written.pixels[INSIDE], wanted[INSIDE], atol=0.003)
    np.testing.assert_allclose(previews[0][INSIDE], srgb_curve(LIGHT)[INSIDE], atol=0.003)
    np.testing.assert_allclose(previews[1][0].permute(1, 2, 0)[INSIDE], wanted[INSIDE], atol=0.003)
    assert any("RAW was developed" in note for note in result.notes)


def test_the_default_format_is_png(rawpy):
    content, result = restore_bytes(dng(LIGHT), name="IMG_1.NEF")
    assert result.output.name == "IMG_1.restored.png"
    assert content.startswith(b"\x89PNG")


def test_raw_without_a_name_is_known_by_its_content(rawpy):
    """For instance from a pipe, or as the short shot of a pair."""
    data = dng(LIGHT)
    with pytest.raises(ImageFileError, match=r"\(short shot\): pairs of camera RAW are not restored"):
        restore_bytes(data, name="standard input", noisy=data)
    content, result = restore_bytes(data, name="standard input")
    assert content.startswith(b"\x89PNG") and any("RAW was developed" in note for note in result.notes)


def with_thumbnail(bad: bool = False) -> bytes:
    """A file like a NEF or an ARW: a thumbnail, with the colour filter array in a directory below it."""
    buffer = io.BytesIO()
    sensor = np.full((48, 64), 900, np.uint16)
    with tifffile.TiffWriter(buffer) as file:
        file.write(np.zeros((12, 16, 3), np.uint8), photometric="rgb", subifds=2, metadata=None)
        for _ in range(2):
            pattern = [(33421, "H", 2, (2, 2), False), (33422, "B", 4, bytes([0, 1, 1, 2]), False)]
            file.write(sensor, photometric="cfa", extratags=pattern, metadata=None)
    data = bytearray(buffer.getvalue())
    if bad:  # the first of the directories below lies outside of the file
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            place = file.pages.first.tags[330].valueoffset
        data[place : place + 4] = b"\xff\xff\xff\x7f"
    return bytes(data)


def test_raw_of_other_cameras_is_known_by_its_colour_filter_array(tmp_path):
    assert is_raw(with_thumbnail()) and is_raw(with_thumbnail(bad=True))


def test_a_dng_is_known_even_if_a_directory_below_is_damaged():
    data = bytearray(dng(LIGHT))
    entry = data.index((33421).to_bytes(2, "little"))  # becomes a pointer to a directory outside of the file
    data[entry : entry + 12] = b"".join(n.to_bytes(k, "little") for n, k in ((330, 2), (4, 2), (1, 4), (2**30, 4)))
    assert is_raw(bytes(data))


def test_the_size_of_raw_is_that_of_the_sensor_whatever_its_name(rawpy, tmp_path):
    path = tmp_path / "IMG_1.tif"
    path.write_bytes(dng(LIGHT))
    assert picture_size(path) == (64, 48)


def test_an_ordinary_or_damaged_tiff_is_not_taken_for_raw():
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(buffer, "TIFF")
    assert decode_photo(buffer.getvalue()).format == "TIFF"
    for data in (b"II*\0" + bytes(100), b"II*\0\xff\xff\xff\xff", buffer.getvalue()[:30]):
        assert not is_raw(data)


def test_raw_that_cannot_be_read_is_refused(rawpy):
    with pytest.raises(ImageFileError, match=r"a.nef: LibRaw cannot read it \(.*\)\. Convert it"):
        decode_photo(b"II*\0" + bytes(100), "a.nef")
    with pytest.raises(ImageFileError, match=r"the limit is 0\.001 megapixels"):
        decode_photo(dng(LIGHT), "a.dng", max_pixels=1000)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageFileError, match=r"a.dng: camera RAW needs one more package: pip install 'unblur\[raw\]'"):
        decode_photo(dng(LIGHT), "a.dng")


def as_part(exif_tags: list[tuple[int, int, bytes]]) -> bytes:
    """A TIFF file with one directory of these tags: (tag, type, value of four bytes)."""
    table = b"".join(tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + value for tag, kind, value in exif_tags)
    return b"II*\0\x08\0\0\0" + len(exif_tags).to_bytes(2, "little") + table + bytes(4)


MAKE = (271, 2, (4).to_bytes(4, "little") + b"Ours")
ISO = (34855, 3, (1).to_bytes(4, "little") + b"\x90\x01\0\0")  # 400


@pytest.mark.parametrize("mark", [b"IIRO", b"IIRS", b"IIU\0"])
def test_the_exif_of_a_raw_with_a_header_of_its_own_is_found(mark):
    exif = raw._exif(mark + as_part([MAKE])[4:])
    assert exif is not None and exif.startswith(b"Exif\0\0II*\0") and b"Ours" in exif


def test_the_exif_of_fujis_raw_is_that_of_its_jpeg():
    exif = b"Exif\0\0" + as_part([MAKE])
    jpeg = b"\xff\xd8\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + b"\xff\xda"
    head = b"FUJIFILMCCD-RAW ".ljust(84, b"0") + (100).to_bytes(4, "big") + len(jpeg).to_bytes(4, "big")
    assert raw._exif(head.ljust(100, b"\0") + jpeg) == exif
    assert raw._exif(head.ljust(100, b"\0")) is None


def test_the_exif_of_a_cr3_is_put_together_from_its_directories():
    def box(name: bytes, content: bytes) -> bytes:
        return (len(content) + 8).to_bytes(4, "big") + name + content

    head = box(b"ftyp", b"crx \0\0\0\1")
    exif = raw._exif(head + box(b"CMT1", as_part([MAKE])) + box(b"CMT2", as_part([ISO])) + box(b"CMT4", b"damaged"))
    assert exif is not None
    tags = Image.Exif()
    tags.load(exif)
    assert tags[271] == "Ours"
    assert tags.get_ifd(34665)[34855] == 400
    assert raw._exif(head) is None


def test_missing_exif_is_noted(rawpy, monkeypatch):
    monkeypatch.setattr(raw, "_exif", lambda data: None)
    notes = raw.decode_raw(dng(LIGHT), Path("a.dng"), 10**6).notes
    assert "Its EXIF data was not found, and is left out." in notes


def test_a_tiff_whose_first_pixel_looks_like_the_mark_of_a_raw_is_a_tiff():
    """Canon's mark is "CR" and a version; a TIFF may have its pixels at this place."""
    table = [(256, 1), (257, 1), (258, 8), (262, 2), (273, 8), (277, 3), (278, 1), (279, 3)]
    entries = b"".join(struct.pack("<HHLHH", tag, 3, 1, value, 0) for tag, value in table)
    data = b"II*\0" + (12).to_bytes(4, "little") + b"CR\x63\0" + len(table).to_bytes(2, "little") + entries + bytes(4)
    photo = decode_photo(data, "a.tif")
    np.testing.assert_allclose(photo.pixels[0, 0] * 255, [67, 82, 99], atol=1e-4)
