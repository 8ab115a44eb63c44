"""`unblur restore -`: photos through standard input and output."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from fakes import brightening, pair_method, write_photo_file
from test_cli import refused
from unblur.cli import app, streams


@pytest.fixture
def options(tmp_path, monkeypatch):
    """A photo in the current folder, what it becomes, and the options of a quick method."""
    monkeypatch.chdir(tmp_path)
    write_photo_file(tmp_path / "a.jpg", quality=95)
    options = ("--force", "--method", brightening(tmp_path))
    assert run("restore", "a.jpg", "-o", "wanted.jpg", *options).exit_code == 0
    return options


def run(*arguments, given: bytes = b""):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)


def test_a_photo_goes_from_standard_input_to_standard_output(options):
    result = run("restore", "-", *options, given=Path("a.jpg").read_bytes())
    assert result.exit_code == 0
    assert result.stdout_bytes == Path("wanted.jpg").read_bytes(), "nothing but the picture"
    found, done = result.stderr.splitlines()
    assert found.startswith("standard input: noise 0.0")
    assert done.endswith(" s -> standard output")


def test_either_end_may_be_a_file(options):
    before = sorted(Path().iterdir())
    assert run("restore", "a.jpg", "-o", "-", *options).stdout_bytes == Path("wanted.jpg").read_bytes()
    assert sorted(Path().iterdir()) == before, "no file was written"
    result = run("restore", "-", "-o", "b.png", *options, given=Path("a.jpg").read_bytes())
    assert result.stdout.endswith(" s -> b.png\n")
    with Image.open("b.png") as picture:
        assert picture.format == "PNG"


def test_json_goes_where_the_picture_does_not(options):
    result = run("restore", "-", "--json", *options, given=Path("a.jpg").read_bytes())
    assert json.loads(result.stderr)["output"] == "-"
    assert run("restore", "a.jpg", "-o", "-", "--quiet", *options).stderr == ""


def test_a_pair_may_come_through_standard_input(options, tmp_path):
    mine = ("--force", "--method", pair_method(tmp_path), "--no-align", "--noisy", "a.jpg")
    assert run("restore", "wanted.jpg", "-o", "c.jpg", *mine).exit_code == 0
    result = run("restore", "-", *mine, given=Path("wanted.jpg").read_bytes())
    assert result.stdout_bytes == Path("c.jpg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "standard input: the file is empty"),
        (["-", "-o", "wanted.jpg"], "wanted.jpg: it exists already"),
        (["a.jpg", "-o", "-", "--report", "r.png"], "--report is for photos in files"),
        (["-", "a.jpg", "-o", "out"], "which holds one photo"),
        (["-", "--resume", "-o", "out"], "which holds one photo"),
        (["none.jpg", "-o", "-"], "none.jpg: there is no such file"),
        (["-", "-o", "b.xyz"], "'.xyz' cannot be written"),
    ],
)
def test_mistakes_are_explained(options, arguments, message):
    assert message in refused("restore", *arguments, *options)


def test_a_picture_is_not_printed_on_a_terminal(options, monkeypatch):
    monkeypatch.setattr(streams, "_on_terminal", lambda: True)
    assert "would be printed on the terminal" in refused("restore", "a.jpg", "-o", "-", *options)


def test_a_dry_run_reads_nothing(options):
    assert run("restore", "-", "--dry-run", *options).stdout == "new: - -> -\n"


@pytest.mark.parametrize("closed", ["<&-", "<a.jpg >&-"])
def test_a_stream_that_the_shell_has_closed_is_refused_in_one_line(options, closed):
    command = shlex.join([sys.executable, "-m", "unblur", "restore", "-", *options]) + f" {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    stream = "standard input: it cannot be read" if closed == "<&-" else "standard output: not written"
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1) and f"error: {stream}" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_lines_that_cannot_be_written_end_with_one_line(options):
    command = shlex.join([sys.executable, "-m", "unblur", "restore", "a.jpg", "--json", *options]) + " >/dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: standard output: not written (No space left on device).\n")
