"""What is refused, in one line that names the file; and that writing is all or nothing."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from odd_files import make_odd_files
from unblur.image_io import ImageFileError, Photo, check_writable, default_output, read_photo, write_photo
from unblur.types import UnblurError

PHOTO = Photo(np.linspace(0, 1, 60, dtype=np.float32).reshape(4, 5, 3))


def test_odd_files_read_or_are_refused_in_one_line(tmp_path):
    wrong = []
    files = make_odd_files(tmp_path)
    for path, expectation in files:
        try:
            photo = read_photo(path)
            good = expectation == "ok" and np.isfinite(photo.pixels).all()
            good = good and photo.pixels.dtype == np.float32 and photo.pixels.min() >= 0 and photo.pixels.max() <= 1
        except UnblurError as error:
            message = str(error)
            good = expectation == "error" and path.name in message and "\n" not in message
            good = good and message.endswith(".")
        if not good:
            wrong.append(path.name)
    assert wrong == []
    assert len(files) >= 30


def test_a_line_break_in_a_name_does_not_break_the_message(tmp_path):
    with pytest.raises(ImageFileError) as caught:
        read_photo(tmp_path / "two\nlines.jpg")
    assert "two?lines.jpg" in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"x")

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageFileError, match=r"secret\.jpg: you may not read"):
        read_photo(path)


def test_reading_leaves_pillows_limit_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    write_photo(PHOTO, tmp_path / "a.png")
    read_photo(tmp_path / "a.png")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", [".gif", ".heic", ""])
def test_an_unknown_suffix_is_refused_before_the_work(tmp_path, suffix):
    with pytest.raises(ImageFileError, match=r"Use \.jpg"):
        check_writable(tmp_path / f"a{suffix}", overwrite=False)


def test_a_missing_or_closed_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    with pytest.raises(ImageFileError, match="does not exist"):
        check_writable(tmp_path / "none" / "a.png", overwrite=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ImageFileError, match="may not write"):
        check_writable(tmp_path / "a.png", overwrite=True)


def test_transparency_is_never_dropped(tmp_path):
    photo = Photo(np.zeros((4, 5, 3), np.float32), np.ones((4, 5), np.float32))
    for refuse in (
        lambda: check_writable(tmp_path / "a.jpg", overwrite=False, photo=photo),
        lambda: write_photo(photo, tmp_path / "a.jpg"),
    ):
        with pytest.raises(ImageFileError, match="Save as PNG, WebP or TIFF"):
            refuse()
    assert list(tmp_path.iterdir()) == []


def test_a_side_too_long_for_the_format_is_refused(tmp_path):
    long = Photo(np.zeros((1, 16_384, 1), np.float32))
    with pytest.raises(ImageFileError, match="16383"):
        write_photo(long, tmp_path / "a.webp")


def test_a_result_that_is_not_finite_is_not_written(tmp_path):
    with pytest.raises(ImageFileError, match="NaN"):
        write_photo(PHOTO.with_pixels(PHOTO.pixels * np.nan), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", [".", "..", "/", "photos"])
def test_a_folder_has_no_output_beside_it(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    with pytest.raises(ImageFileError, match=r"that is a folder; name a photo in it, such as .*IMG_1\.jpg\.$"):
        default_output(folder)


def test_nothing_that_exists_is_replaced_unasked(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"precious")
    with pytest.raises(ImageFileError, match=r"exists already\..* -o, .* --overwrite\."):
        write_photo(PHOTO, target)
    assert target.read_bytes() == b"precious"
    write_photo(PHOTO, target, overwrite=True)
    assert read_photo(target).pixels.shape == (4, 5, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("links", ["hard links", "no hard links"])
def test_a_file_that_appears_during_the_work_is_not_replaced(tmp_path, monkeypatch, links):
    target = tmp_path / "a.png"
    monkeypatch.setattr("unblur.image_io.write.check_writable", lambda *_args, **_options: None)
    if links == "no hard links":
        monkeypatch.setattr(Path, "hardlink_to", _no_links)
        write_photo(PHOTO, tmp_path / "b.png")
        assert read_photo(tmp_path / "b.png").pixels.shape == (4, 5, 3)
    target.write_bytes(b"precious")
    with pytest.raises(ImageFileError, match="exists already"):
        write_photo(PHOTO, target)
    assert target.read_bytes() == b"precious"
    assert not list(tmp_path.glob(".*"))


def _no_links(*_args: object) -> None:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize("kind", ["same path", "symbolic link", "hard link"])
def test_the_input_is_recognised_by_whatever_name(tmp_path, kind):
    source, target = tmp_path / "photo.png", tmp_path / "alias.png"
    write_photo(PHOTO, source)
    before = source.read_bytes()
    if kind == "same path":
        target = source
    elif kind == "symbolic link":
        target.symlink_to(source)
    else:
        target.hardlink_to(source)
    with pytest.raises(ImageFileError, match="the picture being read"):
        write_photo(PHOTO, target, source=source)
    assert source.read_bytes() == before


def test_a_link_is_written_through(tmp_path):
    write_photo(PHOTO, tmp_path / "real.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_photo(PHOTO.with_pixels(PHOTO.pixels * 0), tmp_path / "link.png", overwrite=True)
    assert (tmp_path / "link.png").is_symlink()
    assert read_photo(tmp_path / "real.png").pixels.max() == 0


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_in_the_middle_leaves_no_trace(tmp_path, monkeypatch, failing):
    target = tmp_path / "a.png"
    target.write_bytes(b"precious")

    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if failing == "fsync" else (Path, "replace")), full)
    with pytest.raises(ImageFileError, match=r"a\.png: .*No space left"):
        write_photo(PHOTO, target, overwrite=True)
    assert target.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_new_file_has_the_usual_permissions_and_a_replaced_one_keeps_its_own(tmp_path):
    mask = os.umask(0o022)
    try:
        write_photo(PHOTO, tmp_path / "a.png")
    finally:
        os.umask(mask)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o644
    (tmp_path / "a.png").chmod(0o640)
    write_photo(PHOTO, tmp_path / "a.png", overwrite=True)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640


def test_a_deflated_bomb_is_not_inflated(tmp_path):
    """The strip unpacks to 800 times what the header promises; only the promise is read."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((8000, 1000), np.uint8), compression="zlib", rowsperstrip=8000)
    with tifffile.TiffFile(path, mode="r+") as file:
        page = file.pages[0]
        page.tags[257].overwrite(10)
        page.tags[278].overwrite(10)
    tracemalloc.start()
    try:
        shape = read_photo(path).pixels.shape
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert shape == (10, 1000, 1)
    assert peak < 4_000_000  # the strip whole would be 8 MB
