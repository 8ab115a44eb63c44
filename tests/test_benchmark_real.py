"""`unblur bench real`: each photo of a folder is restored and shown beside its result."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fakes import brightening, write_photo_file
from unblur.benchmark.real import photos_in, run_real
from unblur.cli import app
from unblur.pipeline.options import Options
from unblur.types import UnblurError


@pytest.fixture
def photos(tmp_path):
    """A folder of four photos."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abcd":
        write_photo_file(folder / f"{name}.jpg", quality=95)
    return folder


@pytest.fixture
def options(tmp_path):
    """A method that makes photos brighter, and is not judged."""
    return Options(brightening(tmp_path), force=True)


def test_a_photo_gets_a_line_a_result_and_figures(photos, options, tmp_path):
    lines = []
    done = run_real(photos, tmp_path / "out", options, limit=1, report=lambda one: lines.append(one.line))
    assert len(lines) == len(done) == 1
    assert lines[0].startswith("a.jpg: restored with ")
    assert "it was asked for" in lines[0]
    before, after = (np.asarray(Image.open(path), float) for path in (photos / "a.jpg", tmp_path / "out/a.png"))
    assert after.mean() > before.mean()
    assert json.loads((tmp_path / "out/a.json").read_text()) == done[0].figures


def test_a_photo_that_was_left_alone_says_why(photos, tmp_path):
    (done,) = run_real(photos, tmp_path / "out", Options(strength=0), limit=1)
    assert "left alone" in done.line
    assert "the strength is 0" in done.line


def test_three_photos_share_a_contact_sheet_with_the_result_on_the_right(photos, options, tmp_path):
    run_real(photos, tmp_path / "out", options)
    assert [path.name for path in sorted((tmp_path / "out").glob("sheet-*"))] == ["sheet-01.png", "sheet-02.png"]
    three, one = (np.asarray(Image.open(tmp_path / f"out/sheet-0{n}.png"), float) for n in (1, 2))
    assert three.shape[0] == 3 * one.shape[0]
    with Image.open(photos / "d.jpg") as photo:
        width, height = photo.size
    left, right = (one[32 : 32 + height, start : start + width].mean() for start in (12, 664))
    assert right > left + 2


def test_a_photo_whose_figures_are_there_is_not_restored_again(photos, options, tmp_path):
    (first,) = run_real(photos, tmp_path / "out", options, limit=1)
    (tmp_path / "out/a.json").write_text(json.dumps(first.figures | {"method": "earlier"}))
    methods = [one.figures["method"] for one in run_real(photos, tmp_path / "out", options, limit=2)]
    assert methods[0] == "earlier"
    assert methods[1] == first.figures["method"]


def test_another_file_with_the_name_of_a_result_is_kept(photos, options, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").write_text("mine")
    with pytest.raises(UnblurError, match="exists already"):
        run_real(photos, tmp_path / "out", options, limit=1)
    assert (tmp_path / "out/a.png").read_text() == "mine"
    run_real(photos, tmp_path / "out", options, limit=1, overwrite=True)
    assert Image.open(tmp_path / "out/a.png").format == "PNG"


def test_a_folder_that_will_not_do_is_refused(photos, tmp_path):
    with pytest.raises(UnblurError, match="no folder"):
        photos_in(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnblurError, match=r"holds no photo.*\.jpg"):
        photos_in(tmp_path / "empty")
    write_photo_file(photos / "b.png")
    with pytest.raises(UnblurError, match=r"both b\.jpg and b\.png"):
        photos_in(photos)


def test_the_command_prints_a_line_for_each_photo(photos, tmp_path):
    command = ["bench", "real", "--data", str(photos), "--limit", "2", "--method", brightening(tmp_path)]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["a.jpg", "b.jpg"]
    assert "of 2 photos were restored" in lines[2]


def test_what_the_command_needs_is_said(photos):
    without_out = CliRunner().invoke(app, ["bench", "real", "--data", str(photos)])
    without_method = CliRunner().invoke(app, ["bench", "levin", "--data", str(photos)])
    assert (without_out.exit_code, without_method.exit_code) == (2, 2)
    assert "--out DIR" in without_out.stderr
    assert "--method" in without_method.stderr
