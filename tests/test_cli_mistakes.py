"""What a person may get wrong on the command line: each is one line that names the remedy, before any work."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageDraw

from fakes import PSF, estimating, write_photo_file
from test_cli import names, refused, run
from unblur import cli
from unblur.image_io import write_psf
from unblur.pipeline.report import PANEL, draw_report
from unblur.pipeline.restore import FileResult


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A blurred photo in the current folder, beside its PSF."""
    monkeypatch.chdir(tmp_path)
    write_psf(PSF.numpy(), tmp_path / "psf.npy")
    return write_photo_file(tmp_path / "a.jpg", quality=95)


@pytest.mark.parametrize("command", ["restore", "psf"])
@pytest.mark.parametrize("folder", [".", "..", "/", "album"])
def test_a_folder_is_not_a_photo(photo, command, folder):
    Path("album").mkdir()
    remedy = {
        "psf": f"name a photo in it, such as {Path(folder) / 'IMG_1.jpg'}.",
        "restore": "name a folder for the results, too: -o OUT.",
    }
    assert refused(command, folder) == f"error: {folder}: that is a folder; {remedy[command]}\n"
    assert names(".") == ["a.jpg", "album", "psf.npy"]


def test_a_folder_among_photos_does_not_stop_them(photo):
    Path("album").mkdir()
    result = run("restore", "album", "a.jpg", "--psf", "psf.npy")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: album: that is a folder")
    assert result.stderr.count("\n") == 1
    assert "a.restored.jpg" in names(".")


def test_a_psf_that_would_not_be_used_is_refused(photo, tmp_path):
    method = estimating(tmp_path)
    for name in (method, "l0_psf", "l0_psf+hyper_laplacian"):
        line = refused("restore", "a.jpg", "--psf", "psf.npy", "--method", name)
        assert "estimates a PSF and takes none; leave out --psf or use --method wiener_stack." in line
    assert "'nlm' makes no use of a PSF" in refused("restore", "a.jpg", "--psf", "psf.npy", "--method", "nlm")


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "-1,2,30,40", "1,2,3.5,4", ""])
@pytest.mark.parametrize("command", ["restore", "psf"])
def test_a_region_is_four_numbers(photo, command, text):
    line = refused(command, "a.jpg", f"--region={text}")
    assert "--region takes left, top, width and height in pixels, like 200,150,600,600" in line


@pytest.mark.parametrize("size", [4, 6, 2, 1, 0, -3])
@pytest.mark.parametrize("command", ["restore", "psf"])
def test_a_psf_has_an_odd_size(photo, command, size):
    assert "--psf-size takes an odd number of pixels" in refused(command, "a.jpg", "--psf-size", size)


def test_a_psf_larger_than_the_photo_is_refused(photo):
    write_psf(np.ones((3, 65), np.float32), "wide.npy")
    assert "smaller than the PSF (65 x 3 px)" in refused("restore", "a.jpg", "--psf", "wide.npy")
    assert names(".") == ["a.jpg", "psf.npy", "wide.npy"]


def test_several_photos_make_no_folder_that_is_called_like_a_photo(photo):
    write_photo_file(photo.with_name("b.png"))
    for option in (("-o", "out.jpg"), ("--report", "out.PNG")):
        assert "do not go into one file" in refused("restore", "a.jpg", "b.png", "--psf", "psf.npy", *option)
    assert "cannot be made (Not a directory)" in refused(
        "restore", "a.jpg", "b.png", "--psf", "psf.npy", "-o", "a.jpg/x"
    )
    refused("restore", "a.jpg", "b.png", "--psf", "psf.npy", "--set", "foo", "-o", "new")
    assert names(".") == ["a.jpg", "b.png", "psf.npy"], "no folder is made for what is refused"


@pytest.mark.parametrize("report", ["out.png", "./out.png", "a.jpg"])
@pytest.mark.parametrize("more", [[], ["--overwrite"]])
def test_the_report_replaces_neither_the_photo_nor_the_result(photo, report, more):
    before = photo.read_bytes()
    line = refused("restore", "a.jpg", "--psf", "psf.npy", "-o", "out.png", "--report", report, *more)
    assert "needs a place of its own" in line
    assert names(".") == ["a.jpg", "psf.npy"]
    assert photo.read_bytes() == before


def test_a_report_that_exists_names_its_own_option(photo):
    photo.with_name("r.png").write_bytes(b"precious")
    line = refused("restore", "a.jpg", "--psf", "psf.npy", "--report", "r.png")
    assert "r.png: it exists already. Choose another name with --report, or replace it with --overwrite." in line


def test_the_psf_goes_into_a_folder_that_is_named(photo, tmp_path):
    Path("album").mkdir()
    assert run("psf", "a.jpg", "-o", "album", "--method", estimating(tmp_path)).exit_code == 0
    assert names("album") == ["a.psf.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nonsense"], "No such option"),
        (["nope"], "No such command 'nope'"),
        (["restore"], "Missing argument 'PHOTO'"),
        (["restore", "a.jpg", "--psf-size", "big"], "Invalid value for '--psf-size'"),
        (["bench", "levin", "--method", "wiener"], "Missing option '--data'"),
        (["bench", "levin", "--data", ".", "--method", "wiener", "--together", "0"], "Invalid value for '--together'"),
        (["bench", "levin", "--data", "none", "--method", "wiener"], "there is no folder none"),
        (["bench", "levin", "--data", "a.jpg", "--method", "wiener"], "there is no folder a.jpg"),
        (["bench", "kodak", "--data", ".", "--method", "wiener"], "there is no data set 'kodak'"),
        (["bench", "levin", "--data", ".", "--method", ","], "name at least one method"),
        (["restore", "a.jpg", "--strength", "nan"], "strength goes from 0"),
        (["restore", "a.jpg", "--set", "strength=abc"], "setting 'strength'"),
        (["restore", "a.jpg", "--sigma", "nan"], "not nan"),
        (["restore", "a.jpg", "--report", "r.xyz"], "'.xyz' cannot be written"),
        (["restore", "a.jpg", "--weights", "a.jpg", "--set", "weights=psf.npy"], "leave one out"),
    ],
)
def test_what_was_typed_wrongly_is_said_in_one_line(photo, arguments, message):
    assert message in refused(*arguments)
    assert names(".") == ["a.jpg", "psf.npy"]


@pytest.mark.parametrize("device", ["cuda:77", "tpu"])
@pytest.mark.parametrize(
    "command", [["restore", "a.jpg"], ["psf", "a.jpg"], ["bench", "levin", "--data", ".", "--method", "wiener"]]
)
def test_a_device_that_is_not_there_is_refused_before_any_work(photo, command, device):
    line = refused(*command, "--device", device)
    assert f"finds no device '{device}'. There is: cpu" in line
    assert names(".") == ["a.jpg", "psf.npy"]


@pytest.mark.parametrize(
    ("size", "zoom"), [((300, 200), 0), ((640, 480), 2), ((900, 600), 2), ((1439, 900), 2), ((1440, 900), 1)]
)
def test_the_detail_in_the_report_shows_more_than_the_whole_does(monkeypatch, size, zoom):
    captions: list[str] = []
    write = ImageDraw.ImageDraw.text

    def noted(self, place, text, *more):
        captions.append(text)
        write(self, place, text, *more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", noted)
    width, height = size
    pixels = np.zeros((height, width, 3), np.float32)
    done = FileResult(Path("a.jpg"), Path("b.jpg"), "wiener", None, 0.01, 1.0, True)
    sheet = draw_report(pixels, pixels, done)
    wanted = f"detail at {100 * zoom} %"
    assert [c for c in captions if "detail" in c] == ([f"before, {wanted}", f"after, {wanted}"] if zoom else [])
    assert sheet.height >= min(1, PANEL / width) * height + min(PANEL, zoom * height)


def test_warnings_of_pillow_are_not_shown(monkeypatch):
    def app() -> None:
        warnings.warn_explicit("Corrupt EXIF data.", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")

    monkeypatch.setattr(cli, "ENVIRONMENT", {})
    monkeypatch.setattr(cli, "app", app)
    with warnings.catch_warnings(record=True) as shown:
        cli.main()
    assert shown == []
