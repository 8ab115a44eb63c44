"""Every command in README and docs runs without an error, on pictures small enough for a test.

A command of `unblur` runs as it is written, in a folder that holds files of the names that the commands use. What would
take long is made shorter (`SHORTER`). Commands of other programs are not run, but the options and files that they name
must exist.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner

from helpers import blurred_scene, hook_psf, structured_picture
from unblur.cli import app
from unblur.datasets import nidf
from unblur.image_io import write_psf

TREE = Path(__file__).parent.parent
PAGES = [TREE / "README.md", *sorted((TREE / "docs").glob("*.md"))]

# Options that make a command shorter, by what it contains. The first that fits is used.
SHORTER = {
    "selfdeblur": ["--set", "selfdeblur.seconds=1", "--psf-size", "5"],
    "unblur bench": ["--limit", "1"],
    "unblur synth": ["--count", "1", "--workers", "0"],
    "-o restored/": ["--jobs", "1"],
}


def commands() -> list[str]:
    """The commands of all pages, each once, without comments."""
    found: dict[str, None] = {}
    for page in PAGES:
        inside, unfinished = False, ""
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                inside = line.startswith("```console")
            elif inside and (unfinished or line.startswith("$ ")):
                unfinished += line.removeprefix("$ ")
                if unfinished.endswith("\\"):
                    unfinished = unfinished[:-1]
                    continue
                found[shlex.join(shlex.split(unfinished, comments=True))] = None
                unfinished = ""
    return list(found)


COMMANDS = commands()
OWN = [one for one in COMMANDS if one.startswith("unblur ")]
# Not run here: a training run (tests/test_cli_training.py), an export, which takes half a minute
# (tests/test_pipeline_export.py), and the page, which runs until it is stopped (tests/test_cli_web.py).
PARSED = [one for one in OWN if one.split()[1] in ("train", "export", "web")]
RUN = [one for one in OWN if one not in PARSED]
SCRIPTS = [one for one in COMMANDS if one.startswith("python ")]


def save(path: Path, picture) -> None:
    """Write a picture `(1, C, H, W)` in 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture[0].clamp(0, 1).movedim(0, -1) * 255).round().byte().numpy()).save(path)


def method_of_the_docs() -> str:
    """The file `mine.py` that docs/methods.md shows."""
    page = (TREE / "docs/methods.md").read_text()
    return next(block.split("```")[0] for block in page.split("```python\n")[1:] if 'name="mine"' in block)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A folder with all that the commands name."""
    tmp_path = tmp_path_factory.mktemp("docs")
    scene = blurred_scene(64, 72, 3, sigma=0.005)
    photos = ("IMG.jpg", "IMG.tif", "IMG_1.jpg", "IMG_2.jpg", "photo.jpg", "long.jpg", "short.jpg")
    for name in (*photos, "photos/a.jpg", "photos/more/b.jpg", "lai2016/real/c.jpg"):
        save(tmp_path / name, scene.blurry)
    for name in ("shaken", "shaken_noisy"):
        save(tmp_path / f"examples/{name}.jpg", scene.blurry)
        write_psf(scene.psf[0, 0].numpy(), tmp_path / f"examples/{name}.true_psf.png")
    write_psf(scene.psf[0, 0].numpy(), tmp_path / "psf.png")
    (tmp_path / "mine.py").write_text(method_of_the_docs())
    picture = structured_picture(136, 150, 3)
    for number in range(1, 25):
        save(tmp_path / f"kodak/kodim{number:02}.png", picture.roll(5 * number, -1))
    for folder in ("levin2009", "DIR"):
        (tmp_path / folder).mkdir()
        kernel = hook_psf().numpy()
        for picture in range(1, 5):
            for shake in range(1, 9):
                seen = {"x": scene.sharp[0, 1].numpy(), "y": scene.blurry[0, 1].numpy(), "f": kernel}
                savemat(tmp_path / folder / f"im{picture:02}_ker{shake:02}.mat", seen)
    for category in ("manmade", "natural", "people", "saturated", "text"):
        for number in range(1, 6):
            save(tmp_path / f"lai2016/sharp/{category}_{number:02}.png", structured_picture(82, 91, 3, number))
    for number in range(1, 5):
        save(tmp_path / f"lai2016/kernels/kernel_{number:02}.png", hook_psf()[None, None].expand(1, 3, -1, -1) * 4)
    for kind, picture in (("sharp", scene.sharp), ("blur", scene.blurry), ("blur_gamma", scene.blurry)):
        save(tmp_path / f"GOPRO_Large/test/GOPR0384_11_00/{kind}/000001.png", picture)
    for number in range(13):
        save(tmp_path / f"FRAMES/clip/{number:03}.png", structured_picture(48, 90, 3)[..., number : number + 64])
    for kind, picture in (("long", scene.blurry), ("short", 0.4 * scene.sharp), ("sharp", scene.sharp)):
        save(tmp_path / f"lsd2/triplets/{kind}/a.png", picture)
    for number in range(4):
        save(tmp_path / f"DIR/photo{number:x}.jpg", structured_picture(160, 170, 3, number))
    for run in ("RUN", "runs/stack"):
        method = "wiener_stack" if run == "runs/stack" else "deblur_merger"
        weights = TREE / f"src/unblur/methods/{method}/weights/compact.safetensors"
        (tmp_path / run).mkdir(parents=True)
        shutil.copy(weights, tmp_path / run / "weights.safetensors")
    return tmp_path


@pytest.fixture
def place(everything, tmp_path, monkeypatch):
    """A copy of that folder, as the current folder."""
    shutil.copytree(everything, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nidf, "SIDE", 64)
    monkeypatch.setattr(nidf, "SMALLEST", 64 + 2 * nidf.HALF[1])
    return tmp_path


def arguments(command: str) -> list[str]:
    """What follows `unblur`, made shorter."""
    words = [word for word in shlex.split(command)[1:] if not word.startswith("seconds=")]
    if words[-1] == "--set":
        del words[-1]
    extra = next((extra for text, extra in SHORTER.items() if text in command), [])
    for option in extra[::2]:
        if option in words and option != "--set":  # replaced, since it may be given once
            position = words.index(option)
            del words[position : position + 2]
    return [*words, *extra]


def done(words: list[str]) -> None:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, f"{result.stderr}\n{result.exception!r}"


def test_the_pages_hold_the_commands_that_are_run_here():
    assert len(RUN) > 40
    assert len(SCRIPTS) > 5
    assert len(PARSED) > 5


@pytest.mark.parametrize("command", RUN)
def test_a_command_runs_as_it_is_written(command, place):
    if "synth" in command and "--resume" in command:
        done(arguments(command.replace("--resume", "")))
    if command.startswith("unblur psf"):
        (place / "psf.png").unlink()  # it is written
    words = arguments(command.split(" '|' ")[0])
    done(words)
    if "-o" in words and "--dry-run" not in words:
        assert Path(words[words.index("-o") + 1]).exists()


@pytest.mark.parametrize("command", PARSED)
def test_a_long_command_has_options_that_exist(command):
    _, name, *words = shlex.split(command)
    parsed(typer.main.get_command(app).commands[name], words)


@pytest.mark.parametrize("command", SCRIPTS)
def test_a_script_has_the_options_that_it_is_given(command, monkeypatch):
    script, *words = shlex.split(command)[1:]
    monkeypatch.syspath_prepend(str((TREE / script).parent))
    spec = importlib.util.spec_from_file_location(f"script_{Path(script).stem}", TREE / script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    if hasattr(module, "argparse"):
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
        monkeypatch.setattr(sys, "argv", [script, *words])
        with pytest.raises(_Parsed):
            module.main()
        return
    only = typer.Typer()
    only.command()(module.main)
    parsed(typer.main.get_command(only), words)


class _Parsed(Exception):
    """Ends a script whose options were accepted."""


def only_parse(parser: argparse.ArgumentParser) -> None:
    """Exits with an error if an option is not known."""
    _, unknown = parser.parse_known_args()
    assert not unknown
    raise _Parsed


@pytest.mark.parametrize("command", [one for one in COMMANDS if one not in OWN and one not in SCRIPTS])
def test_a_command_of_another_program_names_what_is_there(command):
    extras = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    words = shlex.split(command)
    if words[0] == "pip":
        name, extra = words[-1].rstrip("]").split("[")
        assert name in (".", "unblur")
        assert extra in extras
    elif words[0] == "pytest":
        assert all((TREE / word).exists() for word in words if word.endswith(".py"))
    elif words[0] == "torchrun":
        parsed(typer.main.get_command(app).commands["train"], words[words.index("train") + 1 :])
    elif words[0] == ".":
        assert words == [".", ".venv/bin/activate"], "the environment that the line before has made"
    elif words[0] == "curl":
        position = words.index("unblur")
        parsed(typer.main.get_command(app).commands["restore"], words[position + 2 : words.index(">")])
    else:
        assert words[0] == "python3", "what else is in the docs?"


def parsed(command, words: list[str]) -> None:
    """Fails if an option or an argument of a command is not known, or one is missing."""
    command.make_context(command.name, list(words))
