"""`unblur restore DIR -o OUT`: what is printed, with which exit code, and what a killed run leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fakes import brightening, fake_method
from folder_runs import PHOTOS, ThisProcess, folder_of_photos, results
from test_cli import refused, run
from unblur.pipeline.folders import processes
from unblur.pipeline.folders.manifest import read_records


@pytest.fixture
def method(tmp_path, monkeypatch):
    """Photos in the folder `photos` of the current folder, and the options of a quick method."""
    monkeypatch.chdir(tmp_path)
    folder_of_photos(Path("photos"))
    return ("--force", "--method", brightening(tmp_path))


@pytest.fixture
def here(monkeypatch):
    """Photos are restored in this process, so that the test need not wait for another one; what was asked of it."""
    asked = []

    def make(jobs: int | None = None, *, threads: int = 1) -> ThisProcess:
        asked.append((jobs, threads))
        return ThisProcess()

    monkeypatch.setattr(processes, "LocalProcesses", make)
    return asked


def test_a_folder_is_restored_with_a_summary_and_a_report(method, here):
    result = run("restore", "photos", "-o", "out", *method)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "restored by brightening │ 4" in result.stdout
    assert result.stdout.endswith("s of work; report: out/report.html\n")
    assert set(results(Path("out"))) == set(PHOTOS)
    assert Path("out/report.html").stat().st_size > 5000
    assert here == [(None, 1)]


def test_json_prints_the_lines_of_the_manifest(method, here):
    result = run("restore", "photos", "-o", "out", "--json", *method)
    assert result.stdout == Path("out/manifest.jsonl").read_text()
    assert {json.loads(line)["output"] for line in result.stdout.splitlines()} == set(PHOTOS)


def test_quiet_prints_nothing_but_errors(method, here):
    Path("photos/bad.png").touch()
    result = run("restore", "photos", "-o", "out", "--quiet", "--jobs", 3, "--threads", 2, *method)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "error: photos/bad.png: the file is empty (0 bytes). Copy it again from the camera.\n"
    assert here == [(3, 2)]


def test_an_earlier_run_is_continued_or_replaced_only_when_asked(method, here):
    assert run("restore", "photos", "-o", "out", *method).exit_code == 0
    before = results(Path("out"))
    assert "Continue it with --resume" in refused("restore", "photos", "-o", "out", *method)
    Path("out/b.jpg").unlink()
    again = run("restore", "photos", "-o", "out", "--resume", *method)
    assert "done before             │ 3" in again.stdout
    assert results(Path("out")) == before
    anew = run("restore", "photos", "-o", "out", "--overwrite", "--set", "shift=0.2", *method)
    assert "restored by brightening │ 4" in anew.stdout
    assert len(list(read_records(Path("out")))) == 4
    assert not any(results(Path("out"))[name] == before[name] for name in PHOTOS)


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(method, here):
    first = run("restore", "photos", "-o", "out", "--dry-run", *method)
    assert first.stdout.splitlines() == [f"new: photos/{name} -> out/{name}" for name in sorted(PHOTOS)]
    assert not Path("out").exists()
    run("restore", "photos", "-o", "out", *method)
    Path("out/b.jpg").unlink()
    second = run("restore", "photos", "-o", "out", "--resume", "--dry-run", "--json", *method)
    states = {json.loads(line)["output"]: json.loads(line)["state"] for line in second.stdout.splitlines()}
    assert states == {name: "again" if name == "b.jpg" else "done" for name in PHOTOS}


def test_a_dry_run_of_photos_makes_no_folder(method):
    result = run("restore", "photos/a.png", "photos/b.jpg", "-o", "new", "--dry-run", *method)
    assert result.stdout == "new: photos/a.png -> new/a.restored.png\nnew: photos/b.jpg -> new/b.restored.jpg\n"
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("photos/none.jpg",), "photos/none.jpg: there is no such file"),
        (("photos/a.png", "-o", "photos/a.png"), "photos/a.png: this is the picture being read"),
        (("photos/a.png", "-o", "photos/b.jpg"), "photos/b.jpg: it exists already"),
        (("photos/a.png", "-o", "x.heic"), "x.heic: '.heic' cannot be written"),
        (("photos/a.png", "-o", "none/x.png"), "none/x.png: the folder none does not exist"),
        (("photos/a.png", "--noisy", "photos/none.jpg"), "photos/none.jpg: there is no such file"),
        (("photos/a.png", "--report", "none/r.png"), "none/r.png: the folder none does not exist"),
        (("photos",), "photos: that is a folder"),
    ],
)
def test_a_dry_run_refuses_what_a_run_would_refuse(method, arguments, error):
    quick = method if "--noisy" not in arguments else ("--method", "auto")
    planned = run("restore", *arguments, "--dry-run", *quick)
    assert (planned.exit_code, planned.stdout) == (2, "")
    assert planned.stderr.startswith(f"error: {error}")
    assert run("restore", *arguments, *quick).stderr == planned.stderr


def test_a_photo_that_failed_has_a_line_of_json_too(method):
    Path("bad.jpg").write_bytes(b"no photo")
    result = run("restore", "bad.jpg", "photos/a.png", "--json", *method)
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["input"], first["output"]) == ("bad.jpg", "bad.restored.jpg")
    assert result.stderr == f"error: {first['error']}\n" and "error" not in second
    assert result.exit_code == 2


def test_results_of_a_folder_do_not_go_into_a_place_named_like_a_picture(method):
    result = run("restore", "photos/a.png", "--jobs", "2", "-o", "out.jpg", *method)
    assert (result.exit_code, Path("out.jpg").exists()) == (2, False)
    assert result.stderr.startswith("error: out.jpg: this is the name of a picture.")


def test_a_pattern_in_quotes_is_restored_like_a_folder(method, here):
    assert run("restore", "photos/trips/**/*.tif", "-o", "out", *method).exit_code == 0
    assert set(results(Path("out"))) == {"2024/d.tif"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "-o", "photos"], "cannot go into the folder of the photos"),
        (["photos", "-o", "photos/a.png"], "this is a file. Name a folder"),
        (["photos", "-o", "out", "--noisy", "photos/a.png"], "belongs to one photo, not to a folder"),
        (["photos", "-o", "out", "--region", "0,0,40,40"], "belongs to one photo, not to a folder"),
        (["photos", "-o", "out", "--report", "r.png"], "--report is for photos in files"),
        (["photos/a.png", "--resume"], "Name one with -o"),
        (["photos", "-o", "out", "--set", "shft=1"], "Did you mean 'shift'"),
        (["empty", "-o", "out"], "empty: there is no photo"),
    ],
)
def test_mistakes_are_explained_before_anything_is_written(method, arguments, message):
    Path("empty").mkdir()
    assert message in refused("restore", *arguments, *method)
    assert not Path("out").exists()


def test_ctrl_c_says_how_to_continue(method, monkeypatch):
    monkeypatch.setattr(processes, "LocalProcesses", lambda *_, **__: ThisProcess(most=2))
    result = run("restore", "photos", "-o", "out", *method)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "stopped; 2 photos are done. --resume continues.\n"


@pytest.mark.slow  # two processes, which import torch: 6 s on an idle machine
def test_the_result_is_that_of_the_command_for_one_photo_with_as_many_threads(tmp_path, monkeypatch):
    """Also of a network, whose last bits depend on the number of threads."""
    monkeypatch.chdir(tmp_path)
    folder_of_photos(Path("photos"), ["a.png"])
    options = ("--force", "--method", "two_way", "--threads", "2")
    assert run("restore", "photos", "-o", "out", "--jobs", 1, *options).exit_code == 0
    command = [sys.executable, "-m", "unblur", "restore", "photos/a.png", "-o", "alone.png", *options]
    subprocess.run(command, check=True, capture_output=True)
    assert Path("out/a.png").read_bytes() == Path("alone.png").read_bytes()


@pytest.mark.slow  # two runs with two processes each, which import torch: 12 s on an idle machine
def test_a_killed_run_leaves_no_half_file_and_is_continued_with_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder_of_photos(Path("photos"), [f"{number}.png" for number in range(8)])
    body = "import time; time.sleep(0.3); return Restoration(image=observation.blurry + 0.1)"
    command = [sys.executable, "-m", "unblur", "restore", "photos", "--force", "--jobs", "2", "--json"]
    command += ["--method", fake_method(tmp_path, "slowly", body)]
    undisturbed = subprocess.run([*command, "-o", "undisturbed"], capture_output=True, text=True, check=True)
    assert len(undisturbed.stdout.splitlines()) == 8

    with subprocess.Popen([*command, "-o", "out"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(Path("/proc", child).exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if Path("/proc", child).exists()], "the workers have ended, too"
    whole = results(Path("undisturbed"))
    half = results(Path("out"))
    assert 1 <= len(half) < 8
    assert all(content == whole[name] for name, content in half.items())

    resumed = subprocess.run([*command, "-o", "out", "--resume"], capture_output=True, text=True, check=True)
    assert len(resumed.stdout.splitlines()) <= 8 - len(half)
    assert results(Path("out")) == whole
    assert not list(Path("out/.unblur").glob("parts/*"))
    assert len(list(Path("out/.unblur/previews").iterdir())) == 2 * 8
