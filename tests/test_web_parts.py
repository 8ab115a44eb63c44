"""Parts of the server by themselves: names of files, pictures for the browser, progress, what is kept."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fakes import brightening
from unblur.image_io import Photo, decode_photo
from unblur.pipeline.in_memory import restore_bytes, restore_to_keep
from unblur.pipeline.options import Options
from unblur.types import UnblurError
from unblur.web import jobs, pictures
from unblur.web.jobs import JobProgress
from unblur.web.kept import KeptPhoto
from unblur.web.uploads import file_name
from web_pages import photo_of


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("IMG 1.JPG", "IMG 1.JPG"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.png", "a.png"),
        ("a\r\nSet-Cookie: b.jpg", "aSet-Cookie: b.jpg"),
        ("Fähre 東京.tif", "Fähre 東京.tif"),
        ("", "photo"),
        ("..", "photo"),
        ("x" * 500 + ".jpeg", "x" * 145 + ".jpeg"),
        ("x" * 500, "x" * 150),
    ],
)
def test_a_file_name_from_a_page_is_only_a_name(sent, name):
    assert file_name(sent) == name


@pytest.mark.parametrize(("height", "width", "shown"), [(40, 60, (60, 40)), (41, 61, (31, 21)), (400, 20, (10, 200))])
def test_a_large_picture_is_shown_reduced_by_a_whole_factor(monkeypatch, height, width, shown):
    monkeypatch.setattr(pictures, "LARGEST", 2400)
    photo = Photo(np.full((height, width, 3), 0.5, np.float32))
    for data in (pictures.shown(photo), pictures.shown_restored(photo, torch.full((1, 3, height, width), 0.5))):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == ("JPEG", shown)
            assert abs(np.asarray(image).astype(int) - 128).max() <= 1


def test_the_colour_profile_is_in_what_the_browser_shows():
    photo = Photo(np.full((8, 8, 3), 0.5, np.float32), icc=b"a profile of some length" * 10)
    with Image.open(io.BytesIO(pictures.shown(photo))) as image:
        assert image.info["icc_profile"] == photo.icc


def test_many_small_steps_are_told_now_and_then_and_counted_all(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(jobs.time, "monotonic", lambda: now[0])
    told = []
    progress = JobProgress(lambda: told.append((progress.name, progress.done)))
    progress.stage("denoising", 1000)
    for _ in range(1000):
        now[0] += jobs.REPORT_EVERY / 10
        progress.advance()
    assert progress.done == progress.total == 1000
    assert told[0] == ("denoising", 0)
    assert 90 <= len(told) <= 101


@pytest.fixture
def made(tmp_path):
    options = Options(method=brightening(tmp_path), force=True)
    return options, restore_to_keep(photo_of("16-bit PNG"), options, name="a.png")


def test_a_photo_whose_pixels_lie_in_a_file_is_encoded_as_if_it_were_restored_again(made):
    options, photo = made
    kept = KeptPhoto(photo)
    assert kept.bytes_on_disk == 4 * 3 * 48 * 64
    for strength in (0.0, 0.3, 0.3, 1.0):
        again = Options(method=options.method, force=True, strength=strength)
        assert kept.at(strength) == restore_bytes(photo_of("16-bit PNG"), again, name="a.png")[0]


def test_a_full_disk_leaves_the_result_at_full_strength(made, monkeypatch):
    class Full(io.BytesIO):
        def write(self, *_):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    kept = KeptPhoto(made[1])
    assert (kept.bytes_on_disk, kept.at(1.0)) == (0, made[1].content)
    assert decode_photo(kept.at(1.0)).depth == "uint16"
    with pytest.raises(UnblurError, match="kept no longer"):
        kept.at(0.5)
