"""Photos in memory: the same bytes as in a file, limits, and several restorations at once."""

from __future__ import annotations

import io
import locale
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageFile

import unblur
from fakes import PSF, brightening, fake_method, photo_pixels, write_photo_file
from unblur.image_io import ImageFileError, Photo, encode_photo, read_photo
from unblur.pipeline.options import Options
from unblur.pipeline.restore import restore_bytes, restore_file
from unblur.types import Cancelled, Observation, Progress, UnblurError

LOSSES = {
    "damaged EXIF": ("JPEG", {"exif": b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(20)}),
    "a second picture": ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (64, 48))]}),
}


def content_of(format: str, **options: object) -> bytes:
    """The photo of `fakes` as the bytes of a file."""
    buffer = io.BytesIO()
    if format == "16-bit PNG":
        return encode_photo(Photo(photo_pixels().astype(np.float32) / np.float32(300), depth="uint16"), "PNG")[0]
    if format == "float TIFF":
        tifffile.imwrite(buffer, (photo_pixels() / 255).astype(np.float32), photometric="rgb")
    else:
        Image.fromarray(photo_pixels()).save(buffer, format, **options)
    return buffer.getvalue()


def leave_alone(folder: Path) -> Options:
    body = "return Restoration(image=observation.blurry, changed=False, notes=['It is sharp already.'])"
    return Options(method=fake_method(folder, "content", body))


FILES = [("JPEG", ".jpg"), ("16-bit PNG", ".png"), ("float TIFF", ".tif"), ("WEBP", ".webp"), ("GIF", ".png")]


@pytest.mark.parametrize("changed", [True, False], ids=["restored", "left alone"])
@pytest.mark.parametrize(("format", "suffix"), FILES, ids=[format for format, _ in FILES])
def test_bytes_give_what_a_file_gives(tmp_path, format, suffix, changed):
    data = content_of(format)
    options = Options(method=brightening(tmp_path), force=True) if changed else leave_alone(tmp_path)
    (tmp_path / "in").write_bytes(data)
    written = restore_file(tmp_path / "in", tmp_path / f"out{suffix}", options)
    restored, result = restore_bytes(data, options)
    assert restored == (tmp_path / f"out{suffix}").read_bytes()
    assert (result.changed, result.notes, result.method) == (written.changed, written.notes, written.method)
    assert result.output == Path(f"photo.restored{suffix}")


def test_no_file_is_touched(tmp_path, monkeypatch):
    options = Options(method="nlm")

    def refuse(*_args, **_options):
        raise AssertionError("a file was opened")

    data = content_of("JPEG")
    restore_bytes(data, options)  # what is imported late is imported now
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "open", refuse)
    assert restore_bytes(data, options, name="in/here.jpg")[1].input == Path("here.jpg")


@pytest.mark.parametrize(
    ("name", "format", "output"),
    [
        ("IMG_2041.JPG", None, "IMG_2041.restored.JPG"),
        ("../../etc/photo.jpeg", None, "photo.restored.jpeg"),
        ("photo.png", None, "photo.restored.jpg"),
        ("photo.jpg", "PNG", "photo.restored.png"),
        ("", None, "photo.restored.jpg"),
    ],
)
def test_the_suffix_of_the_result_names_its_format(tmp_path, name, format, output):
    options = Options(method=brightening(tmp_path), force=True)
    data, result = unblur.restore_bytes(content_of("JPEG"), options, name=name, format=format)
    assert result.output == Path(output)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == (format or "JPEG")


def test_transparency_that_the_format_cannot_hold_is_refused_before_any_work(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(photo_pixels()).convert("RGBA").save(buffer, "PNG")
    slow = Options(method=fake_method(tmp_path, "failing", "raise AssertionError('worked')"))
    with pytest.raises(UnblurError, match=r"^a\.restored\.jpg: JPEG holds no transparency"):
        restore_bytes(buffer.getvalue(), slow, name="a.png", format="JPEG")


def test_cancelling_ends_the_work(tmp_path):
    progress = Progress()
    progress.cancel()
    with pytest.raises(Cancelled):
        restore_bytes(content_of("JPEG"), Options(method=brightening(tmp_path), force=True), progress)


@pytest.mark.parametrize("way", ["file", "bytes"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "16-bit PNG", "float TIFF", "TIFF", "WEBP", "GIF", "BMP"])
def test_more_pixels_than_allowed_are_refused_by_the_header(tmp_path, monkeypatch, format, way):
    data = content_of(format)
    options = Options(method=brightening(tmp_path), force=True)
    (tmp_path / "a").write_bytes(data)

    def restored(max_pixels: int) -> None:
        if way == "bytes":
            restore_bytes(data, options, max_pixels=max_pixels)
        else:
            restore_file(tmp_path / "a", tmp_path / "b.tif", options, max_pixels=max_pixels, overwrite=True)

    restored(48 * 64)
    for decoder in ("imagecodecs.png_decode", "imagecodecs.tiff_decode", "PIL.ImageFile.ImageFile.load"):
        monkeypatch.setattr(decoder, lambda *_: pytest.fail("decoded"))
    with pytest.raises(ImageFileError, match=r"declares 64 x 48 pixels; the limit is 0\.003071 megapixels"):
        restored(48 * 64 - 1)


@pytest.mark.parametrize("way", ["file", "bytes"])
def test_more_bytes_than_allowed_are_refused_before_they_are_read(tmp_path, monkeypatch, way):
    data = content_of("JPEG")
    options = Options(method=brightening(tmp_path), force=True)
    (tmp_path / "a").write_bytes(data)
    restore_bytes(data, options, max_bytes=len(data))
    read_photo(tmp_path / "a", max_bytes=len(data))
    monkeypatch.setattr("unblur.image_io.read.format_of", lambda *_: pytest.fail("read"))
    with pytest.raises(ImageFileError, match="the limit is"):
        if way == "bytes":
            restore_bytes(data, options, max_bytes=len(data) - 1)
        else:
            restore_file(tmp_path / "a", tmp_path / "b.jpg", options, max_bytes=len(data) - 1)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    with pytest.raises(ImageFileError, match=r"^bomb\.png: it declares 30000 x 30000 pixels"):
        restore_bytes(bomb, name="bomb.png")


@pytest.mark.parametrize("loss", LOSSES)
def test_what_a_new_file_would_lose_is_not_said_of_a_copy_byte_by_byte(tmp_path, loss):
    format, options = LOSSES[loss]
    data = content_of(format, **options)
    copied, result = restore_bytes(data, leave_alone(tmp_path))
    assert copied == data
    assert result.notes == ["It is sharp already."]
    _, result = restore_bytes(data, leave_alone(tmp_path), format="PNG")
    assert len(result.notes) == 2, "a copy pixel by pixel loses it"


def test_the_content_decides_whether_a_copy_is_byte_by_byte(tmp_path):
    """The suffix of the input may be wrong."""
    data = content_of("PNG")
    (tmp_path / "a.jpg").write_bytes(data)
    restore_file(tmp_path / "a.jpg", tmp_path / "b.png", leave_alone(tmp_path))
    assert (tmp_path / "b.png").read_bytes() == data


def test_two_restorations_at_once_give_what_they_give_alone(tmp_path):
    tifffile.imwrite(tmp_path / "deep.tif", photo_pixels().astype(np.uint16) * 250, photometric="rgb")
    photos = [write_photo_file(tmp_path / "a.jpg", quality=95), tmp_path / "deep.tif"]
    options = [Options(method="hyper_laplacian"), Options(method="nlm", settings={"search": 9})]
    known = [Observation(psf=PSF[None, None]), Observation()]
    alone = [restore_bytes(photos[i].read_bytes(), options[i], known=known[i])[0] for i in (0, 1)]
    start, together = threading.Barrier(4), {}

    def work(number: int) -> None:
        photo, output = photos[number % 2], tmp_path / f"together{number}{photos[number % 2].suffix}"
        start.wait()
        restore_file(photo, output, options[number % 2], known=known[number % 2])
        together[number] = output.read_bytes()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[number] for number in range(4)] == alone * 2


SETTERS = [
    (os, "umask"),
    (os, "chdir"),
    (os, "putenv"),
    (locale, "setlocale"),
    (warnings, "catch_warnings"),
    (warnings, "simplefilter"),
    (warnings, "filterwarnings"),
    (warnings, "resetwarnings"),
    (torch, "manual_seed"),
    (torch, "set_num_threads"),
    (torch, "set_default_dtype"),
    (torch, "use_deterministic_algorithms"),
    (np.random, "seed"),
]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.tif"])
def test_nothing_of_the_whole_process_is_changed_during_the_work(tmp_path, monkeypatch, name):
    photo = write_photo_file(tmp_path / name)
    options = Options(method=brightening(tmp_path), force=True)
    restore_file(photo, tmp_path / "first.png", options)  # what is imported late is imported now
    limit = 100  # far less than the photo has; Pillow refuses twice as many, were it asked
    seen = []

    class Watching(Progress):
        def on_stage(self, name, total):
            seen.append((Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES))

    with monkeypatch.context() as patched:
        patched.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for module, setter in SETTERS:
            patched.setattr(module, setter, _failing(setter))
        restore_file(photo, tmp_path / "b.png", options, Watching())
    assert len(seen) >= 3
    assert set(seen) == {(limit, False)}


def _failing(setter: str):
    return lambda *_args, **_options: pytest.fail(f"{setter} was called")


def test_a_format_that_is_not_written_is_refused_with_those_that_are():
    with pytest.raises(UnblurError, match=r"not written as 'png'. Available: JPEG, PNG, TIFF, WEBP"):
        restore_bytes(content_of("JPEG"), format="png")


def test_bytes_may_come_as_a_memoryview(tmp_path):
    options = leave_alone(tmp_path)
    assert restore_bytes(memoryview(content_of("JPEG")), options)[0] == content_of("JPEG")
