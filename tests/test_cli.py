"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rich.console
from PIL import Image
from typer.testing import CliRunner

from fakes import PSF, brightening, estimating, fake_method, sharp_pixels, write_photo_file
from unblur.cli import app
from unblur.cli.console import progress_bar
from unblur.image_io import read_psf, write_psf


@pytest.fixture
def photo(tmp_path, monkeypatch):
    """A blurred photo in the current folder, beside its PSF."""
    monkeypatch.chdir(tmp_path)
    write_psf(PSF.numpy(), tmp_path / "psf.npy")
    return write_photo_file(tmp_path / "a.jpg", quality=95)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def refused(*arguments) -> str:
    """The one line on stderr with which a command is refused."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_help_is_quick_and_imports_no_torch():
    code = (
        "import sys; from unblur.cli import app; app(['--help'], standalone_mode=False); print('torch' in sys.modules)"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    assert "Restore blurred photos" in done.stdout
    assert done.stdout.endswith("False\n")
    assert seconds < 2, "0.2 s on an idle machine"


def test_version_and_module():
    import unblur

    assert run("--version").stdout == f"unblur {unblur.__version__}\n"
    done = subprocess.run([sys.executable, "-m", "unblur", "--version"], capture_output=True, text=True)
    assert done.stdout == f"unblur {unblur.__version__}\n"


def test_restore_writes_beside_the_photo_and_says_what_it_found_and_did(photo):
    result = run("restore", "a.jpg", "--psf", "psf.npy")
    assert result.exit_code == 0, result.output
    found, done = result.stdout.splitlines()
    assert found.startswith("a.jpg: PSF 7 x 7 px, spread ")
    assert "noise 0.0" in found
    assert done.startswith("  restored by wiener_stack (the PSF was given) in ")
    assert done.endswith(" s -> a.restored.jpg")
    assert result.stderr == ""
    with Image.open("a.restored.jpg") as image:
        assert image.size == (64, 48)


def test_json_is_one_object_a_photo_and_nothing_else(photo):
    write_photo_file(photo.with_name("b.png"))
    result = run("restore", "a.jpg", "b.png", "--psf", "psf.npy", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    keys = {"input", "output", "method", "reason", "psf_size", "noise_sigma", "seconds", "changed", "notes"}
    assert set(first) == set(second) == keys
    assert (first["input"], first["output"], first["psf_size"]) == ("a.jpg", "a.restored.jpg", 7 + 4)
    assert (second["output"], second["changed"], second["notes"]) == ("b.restored.png", True, [])
    assert result.stderr == ""


def test_quiet_says_nothing(photo):
    result = run("restore", "a.jpg", "--psf", "psf.npy", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_one_bad_photo_does_not_stop_the_others(photo):
    photo.with_name("bad.jpg").write_bytes(b"")
    result = run("restore", "bad.jpg", "missing.jpg", "a.jpg", "--psf", "psf.npy", "--json")
    assert result.exit_code == 2
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["input"] for line in lines] == ["bad.jpg", "missing.jpg", "a.jpg"]
    assert ["error" in line for line in lines] == [True, True, False]
    bad, missing = result.stderr.splitlines()
    assert bad.startswith("error: bad.jpg: the file is empty")
    assert missing.startswith("error: missing.jpg: there is no such file")
    assert not photo.with_name("bad.restored.jpg").exists()


def test_a_photo_that_does_not_fit_in_memory_is_explained(photo, tmp_path):
    for words in ("MemoryError()", "RuntimeError('DefaultCPUAllocator: not enough memory: you tried ...')"):
        hungry = fake_method(tmp_path, "hungry", f"raise {words}")
        assert "not enough memory for it" in refused("restore", "a.jpg", "--method", hungry, "--force")


def test_a_bug_is_not_hidden_where_one_photo_is_restored(photo, tmp_path):
    buggy = fake_method(tmp_path, "buggy", "raise RuntimeError('a bug')")
    assert isinstance(run("restore", "a.jpg", "--method", buggy, "--force").exception, RuntimeError)


def test_a_bug_with_one_photo_does_not_end_the_batch(photo, tmp_path):
    photo.with_name("c.jpg").write_bytes(photo.read_bytes())
    Image.new("RGB", (40, 40)).save("b.png")
    body = "assert observation.blurry.any(), 'it is black'; return Restoration(image=observation.blurry)"
    result = run("restore", "a.jpg", "b.png", "c.jpg", "--force", "--method", fake_method(tmp_path, "buggy", body))
    assert result.exit_code == 2
    assert result.stderr == ("error: b.png: AssertionError: it is black (restore it alone for the whole traceback)\n")
    assert {"a.restored.jpg", "c.restored.jpg"} < set(names(".")), "the photos before and after it are restored"


def test_an_error_names_the_photo_it_is_about(photo, tmp_path):
    picky = fake_method(tmp_path, "picky", "raise UnblurError('too dark')")
    assert refused("restore", "a.jpg", "--method", picky, "--force") == "error: a.jpg: too dark\n"


def test_one_photo_goes_into_a_folder_that_is_made_too(photo):
    assert run("restore", "a.jpg", "-o", "new/deep/", "--psf", "psf.npy").exit_code == 0
    assert names("new/deep") == ["a.restored.jpg"]


def test_several_photos_go_into_a_folder_which_is_made(photo):
    write_photo_file(photo.with_name("b.png"))
    assert run("restore", "a.jpg", "b.png", "-o", "new/deep", "--psf", "psf.npy").exit_code == 0
    assert names("new/deep") == ["a.restored.jpg", "b.restored.png"]
    assert run("restore", "a.jpg", "-o", "new", "--psf", "psf.npy", "--report", "new").exit_code == 0
    assert names("new") == ["a.report.jpg", "a.restored.jpg", "deep"]


def test_several_photos_do_not_go_into_one_file(photo):
    write_photo_file(photo.with_name("b.png"))
    assert "do not go into one file" in refused("restore", "a.jpg", "b.png", "-o", "a.jpg", "--psf", "psf.npy")
    assert "would both go to" in refused("restore", "a.jpg", "a.jpg", "--psf", "psf.npy", "--overwrite")


def test_an_output_is_replaced_only_when_asked(photo):
    photo.with_name("out.png").write_bytes(b"precious")
    arguments = ("restore", "a.jpg", "-o", "out.png", "--psf", "psf.npy")
    assert "out.png: it exists already. Choose another name with -o, or replace it with --overwrite." in refused(
        *arguments
    )
    assert photo.with_name("out.png").read_bytes() == b"precious"
    assert run(*arguments, "--overwrite").exit_code == 0
    assert Image.open("out.png").format == "PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "hyper_laplacan"], "Did you mean 'hyper_laplacian'"),
        (["--method", "wiener"], "needs a psf: give --psf FILE"),
        (["--method", "./none.py"], "no such file"),
        (["--psf", "none.npy"], "none.npy: there is no such file"),
        (["--psf", "psf.npy", "--set", "pases=2"], "Did you mean 'passes'"),
        (["--psf", "psf.npy", "--set", "passes"], "--set takes key=value"),
        (["--psf", "psf.npy", "--set", "passes=high"], "setting 'passes'"),
        (["--psf", "psf.npy", "--strength", "2"], "strength goes from 0"),
        (["--psf", "psf.npy", "--sigma", "5"], "--sigma 5/255"),
        (["--psf", "psf.npy", "--sigma", "low"], "--sigma takes a noise level"),
        (["--psf", "psf.npy", "--psf-size", "9"], "estimates no PSF"),
        (["--psf", "psf.npy", "-o", "no/where.jpg"], "does not exist"),
        (["--psf", "psf.npy", "-o", "a.xyz"], "'.xyz' cannot be written"),
    ],
)
def test_mistakes_are_explained_in_one_line(photo, arguments, message):
    assert message in refused("restore", "a.jpg", *arguments)
    assert names(".") == ["a.jpg", "psf.npy"]


def test_settings_sigma_and_strength_reach_the_method(photo, tmp_path):
    telling = fake_method(
        tmp_path,
        "telling",
        "return Restoration(image=observation.blurry * 0 + settings.shift, notes=[f'sigma {observation.sigma:.4f}'])",
    )
    arguments = (
        "--method",
        telling,
        "--force",
        "--set",
        "shift=1",
        "--sigma",
        "5/255",
        "--strength",
        "0.5",
        "-o",
        "b.png",
    )
    result = run("restore", "a.jpg", *arguments, "--json")
    assert "sigma 0.0196" in json.loads(result.stdout)["notes"]
    before, after = (np.asarray(Image.open(name)).astype(int) for name in ("a.jpg", "b.png"))
    np.testing.assert_allclose(after, (before + 255) / 2, atol=1)


def test_a_photo_is_restored_on_another_device_all_the_same(photo, stand_in):
    telling = fake_method(
        photo.parent,
        "telling",
        "return Restoration(image=observation.blurry * 0.5, notes=[observation.blurry.device.type])",
    )
    made = {}
    for device in ("cpu", stand_in):
        result = run(
            "restore", "a.jpg", "--method", telling, "--force", "--device", device, "-o", f"{device}.png", "--json"
        )
        assert json.loads(result.stdout)["notes"] == [device]
        made[device] = Path(f"{device}.png").read_bytes()
    assert made["cpu"] == made[stand_in]


def test_a_psf_is_estimated_on_another_device_all_the_same(photo, stand_in):
    body = (
        "b = observation.blurry; p = b.new_full((1, 1, 5, 5), 0.04); return Restoration(psf=p, notes=[b.device.type])"
    )
    telling = fake_method(photo.parent, "telling", body, gives=("psf",))
    result = run("psf", "a.jpg", "--method", telling, "--device", stand_in, "-o", "b.npy", "--json")
    assert json.loads(result.stdout)["notes"][-1] == stand_in
    assert read_psf("b.npy").ravel().tolist() == pytest.approx([0.04] * 25)


def test_a_photo_that_would_get_worse_is_left_as_it_was_unless_forced(photo, tmp_path):
    Image.fromarray(sharp_pixels()).save(photo, quality=95)
    arguments = ("restore", "a.jpg", "--method", estimating(tmp_path), "--overwrite")
    _, done, why = run(*arguments).stdout.splitlines()
    assert "left as it was" in done
    assert why.strip() == "The photo does not look blurred: it has detail down to single pixels."
    assert photo.with_name("a.restored.jpg").read_bytes() == photo.read_bytes()
    figures = json.loads(run(*arguments, "--json", "--force").stdout)
    assert (figures["changed"], figures["psf_size"]) == (True, 7)


def test_ctrl_c_says_one_line_and_leaves_nothing(photo, tmp_path):
    body = "print('working', flush=True); import time; time.sleep(30)"
    slow = fake_method(tmp_path, "slow", body)
    command = [sys.executable, "-m", "unblur", "restore", "a.jpg", "--force", "--method", slow]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
    assert (process.returncode, output) == (130, "")
    assert errors == "stopped; the current picture was not written.\n"
    assert [name for name in names(".") if name.startswith((".", "a"))] == ["a.jpg"]


def test_psf_writes_the_psf_and_says_its_size_and_angle(photo, tmp_path):
    body = "p = torch.zeros(1, 1, 9, 9); p[..., 4, 1:8] = 1 / 7; return Restoration(psf=p)"
    level = fake_method(tmp_path, "level", body, gives=("psf",))
    result = run("psf", "a.jpg", "--method", level)
    found, done = result.stdout.splitlines()
    assert found == "a.jpg: PSF 7 x 1 px, spread 6.9 px at 0 degrees (mostly one direction)"
    assert done.endswith("-> a.psf.png")
    assert read_psf("a.psf.png")[4, 1:8].tolist() == pytest.approx([1 / 7] * 7)
    figures = json.loads(run("psf", "a.jpg", "-o", "b.npy", "--method", level, "--json").stdout)
    assert (figures["output"], figures["psf_size"], figures["angle"], figures["credible"]) == ("b.npy", 9, 0, True)
    assert "estimates no PSF" in refused("psf", "a.jpg", "-o", "c.npy", "--method", "nlm")


@pytest.mark.parametrize("command", ["restore", "psf"])
def test_the_psf_is_estimated_in_the_region(photo, command):
    body = "assert observation.blurry.shape[-2:] == (32, 34), observation.blurry.shape; "
    body += "p = torch.zeros(1, 1, 9, 9); p[..., 4, 1:8] = 1 / 7; return Restoration(psf=p)"
    level = fake_method(photo.parent, "level", body, gives=("psf",))
    force = ["--force"] if command == "restore" else []
    given = (command, "a.jpg", "--method", level, *force)
    assert run(*given, "--region", "3,2,34,32").exit_code == 0
    assert "must be inside the photo" in refused(*given, "--region", "900,0,40,40", "--overwrite")


def test_methods_lists_what_each_needs_and_gives():
    result = run("methods")
    assert result.exit_code == 0
    for word in ("hyper_laplacian", "wiener", "blurry, psf", "image"):
        assert word in result.stdout
    described = {method["name"]: method for method in json.loads(run("methods", "--json").stdout)}
    assert described["hyper_laplacian"]["needs"] == ["blurry", "psf"]
    assert described["hyper_laplacian"]["gives"] == ["image"]
    assert described["nlm"]["paper"] == "Buades, Coll & Morel 2005"
    assert described["nlm"]["undoes"] == ["noise"]
    keys = {"name", "title", "paper", "needs", "takes", "gives", "undoes", "channels", "tiling", "presets", "settings"}
    assert all(set(method) == keys for method in described.values())


def test_methods_shows_the_settings_of_one_with_their_ranges(tmp_path):
    (method,) = json.loads(run("methods", "hyper_laplacian", "--json").stdout)
    settings = {setting["name"]: setting for setting in method["settings"]}
    exponent = settings["exponent"]
    assert (exponent["type"], exponent["default"], exponent["minimum"], exponent["maximum"]) == (
        "number",
        0.8,
        0.3,
        0.99,
    )
    assert (settings["mask_clipped"]["type"], settings["mask_clipped"]["choices"]) == ("boolean", None)
    (richardson_lucy,) = json.loads(run("methods", "richardson_lucy", "--json").stdout)
    boundary = next(s for s in richardson_lucy["settings"] if s["name"] == "boundary")
    assert boundary["choices"] == ["open", "circular", "zero"]
    sheet = run("methods", "hyper_laplacian").stdout
    assert "0.3 .. 0.99" in sheet
    assert "Krishnan & Fergus 2009" in sheet
    assert "shift" in run("methods", brightening(tmp_path)).stdout
    assert "Did you mean 'wiener'" in refused("methods", "winer")


def test_bench_prints_a_table_and_writes_json(tmp_path, monkeypatch):
    from unblur import benchmark

    asked = {}

    def fake_run(dataset, data, methods, **options):
        asked.update(options, dataset=dataset, data=data, methods=methods)
        return {"dataset": dataset, "rows": [], "summary": []}

    monkeypatch.setattr(benchmark, "run", fake_run)
    monkeypatch.setattr(benchmark, "table", lambda result: f"the table of {result['dataset']}")
    json_file = tmp_path / "levin.json"
    arguments = ["--data", tmp_path, "--method", "wiener, tv_admm", "--limit", 2, "--set", "wiener.strength=2"]
    result = run("bench", "levin", *arguments, "--json", json_file, "--out", tmp_path / "out")
    assert result.stdout == "the table of levin\n"
    assert json.loads(json_file.read_text()) == {"dataset": "levin", "rows": [], "summary": []}
    asked.pop("progress")
    assert asked == {
        "dataset": "levin",
        "data": tmp_path,
        "methods": ["wiener", "tv_admm"],
        "limit": 2,
        "out": tmp_path / "out",
        "settings": {"wiener.strength": "2"},
        "options": {},
        "device": "cpu",
        "together": 1,
    }
    assert run("bench", "levin", *arguments, "--device", "cuda:1", "--together", 8).exit_code == 0
    assert (asked["device"], asked["together"]) == ("cuda:1", 8)
    assert run("bench", "gopro", *arguments, "--seed", 3, "--noise", "7.5").exit_code == 0
    assert asked["options"] == {"seed": 3, "noise": 7.5}
    assert run("bench", "levin", "--data", tmp_path, "--method", "wiener, nlm[strength=1,size=3]+l0_psf").exit_code == 0
    assert asked["methods"] == ["wiener", "nlm[strength=1,size=3]+l0_psf"]

    before = json_file.read_bytes()
    again = run("bench", "levin", *arguments, "--json", json_file)
    assert (again.exit_code, json_file.read_bytes()) == (2, before)
    assert "--overwrite" in again.stderr
    assert run("bench", "levin", *arguments, "--json", json_file, "--overwrite").exit_code == 0


def test_bench_explains_a_wrong_name(tmp_path):
    assert "Did you mean 'levin'" in refused("bench", "levinn", "--data", tmp_path, "--method", "wiener")


def test_the_progress_bar_is_drawn_on_a_terminal(monkeypatch):
    """Stages with and without a known length, with and without figures."""
    seen = io.StringIO()
    terminal = rich.console.Console(file=seen, force_terminal=True, width=100)
    monkeypatch.setattr(rich.console, "Console", lambda **_: terminal)
    with progress_bar("photo.jpg", quiet=False, remaining=True) as progress:
        progress.stage("looking", 3)
        progress.advance(loss=0.5)
        progress.stage("waiting")
        progress.stage("deconvolving", 2)
        progress.advance()
    said = seen.getvalue()
    assert "photo.jpg" in said and "deconvolving" in said and "1/2" in said
