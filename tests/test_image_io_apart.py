"""HEIF and RAW are decoded in a process of their own, so that a damaged file ends only this one."""

from __future__ import annotations

import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from dng_file import dng
from heic_file import CRASHING, HEIC
from unblur.image_io import ImageFileError, apart, decode_photo
from unblur.image_io.heif import decode_heif
from unblur.image_io.photo import Decoded
from unblur.image_io.raw import decode_raw
from unblur.image_io.size import picture_size

LIGHT = np.random.default_rng(0).uniform(0.2, 0.8, (24, 32, 3))


@pytest.mark.parametrize(
    ("format", "package", "data", "here"),
    [("HEIF", "pi_heif", HEIC, decode_heif), ("RAW", "rawpy", dng(LIGHT), decode_raw)],
)
def test_the_other_process_gives_what_this_one_would(format, package, data, here):
    pytest.importorskip(package)
    mine, other = here(data, Path("a"), 10**6), apart.decode_apart(format, data, Path("a"), 10**6)
    for name in (field.name for field in fields(Decoded)):
        np.testing.assert_equal(getattr(other, name), getattr(mine, name))


def test_a_file_that_ends_the_process_is_refused(tmp_path):
    pytest.importorskip("pi_heif")
    with pytest.raises(ImageFileError, match=r"^a\.heic: the file is damaged or cut short"):
        decode_photo(CRASHING, "a.heic")
    (tmp_path / "a.heic").write_bytes(CRASHING)
    picture_size(tmp_path / "a.heic")  # by this process, which goes on


def test_a_process_that_is_killed_is_a_damaged_file(monkeypatch):
    pytest.importorskip("pi_heif")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -11, b"{"))
    with pytest.raises(ImageFileError, match="the file is damaged"):
        decode_photo(HEIC, "a.heic")


def test_what_the_other_process_refuses_is_refused_here():
    pytest.importorskip("pi_heif")
    with pytest.raises(ImageFileError, match=r"^a\.heic: it declares 24 x 32 pixels; the limit is 0\.0001 megapixels"):
        decode_photo(HEIC, "a.heic", max_pixels=100)


def test_no_code_from_the_folder_of_the_photos_is_run(tmp_path, monkeypatch):
    pytest.importorskip("pi_heif")
    for name in ("json.py", "base64.py", "unblur.py"):
        (tmp_path / name).write_text("raise SystemExit('code from the folder of the photos')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert decode_photo(HEIC, "a.heic").format == "HEIF"


def test_a_process_that_the_system_ends_for_lack_of_memory_is_told_as_such(monkeypatch):
    pytest.importorskip("pi_heif")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], -9, b""))
    with pytest.raises(ImageFileError, match="it needs more memory than there is"):
        decode_photo(HEIC, "a.heic")
