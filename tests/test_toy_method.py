"""A method with a trained network, in a folder of its own: everything finds it there, and nothing else names it.

`toy/` holds its card, settings, network and training (`toy.py`), its recipe, and weights that were made with
`unblur train tests/toy/toy.py --photos DIR -o RUN`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import benchmark_cast
import unblur
from helpers import CountingProgress, structured_picture
from trainables import photo_folder
from unblur import datasets, methods
from unblur.cli import app
from unblur.metrics import psnr
from unblur.trained import network
from unblur.types import Observation

HERE = Path(__file__).parent
TOY = HERE / "toy" / "toy.py"


def unblur_says(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return photo_folder(tmp_path_factory.mktemp("photos"), size=(70, 80))


@pytest.fixture(scope="module")
def run(tmp_path_factory, photos) -> Path:
    """A short run on samples that were written before."""
    folder = tmp_path_factory.mktemp("run")
    unblur_says("synth", TOY, "--photos", photos, "-o", folder / "samples", "--count", 40, "--workers", 2)
    words = ("--samples", folder / "samples", "-o", folder / "run", "--steps", 60, "--accelerator", "cpu")
    assert "dB in validation after 60 steps" in unblur_says("train", TOY, *words)
    return folder / "run"


def noisy_picture(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A picture with white noise of 0.08, and without."""
    sharp = structured_picture(*size, 3)
    return sharp + 0.08 * torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0)), sharp


def test_it_learns_from_photos_on_the_fly(tmp_path, photos):
    words = ("--photos", photos, "-o", tmp_path / "run", "--steps", 4, "--accelerator", "cpu", "--workers", 0)
    assert "dB in validation after 4 steps" in unblur_says("train", TOY, *words)


def test_it_restores_a_file_with_the_weights_that_ship_and_with_those_of_a_run(tmp_path, run):
    noisy, sharp = noisy_picture(96, 120)
    levels = (255 * noisy[0].clamp(0, 1).permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(levels).save(tmp_path / "photo.png")
    results = []
    for name, more in (("shipped", ()), ("own", ("--weights", run / "weights.safetensors"))):
        out = tmp_path / f"{name}.png"
        unblur_says("restore", tmp_path / "photo.png", "--method", TOY, "--force", "-o", out, *more)
        results.append(torch.from_numpy(np.asarray(Image.open(out)) / 255.0).permute(2, 0, 1)[None].float())
    before = psnr(noisy.clamp(0, 1), sharp)
    assert all(psnr(restored, sharp) > before + 4 for restored in results)
    assert not torch.equal(*results)


def test_a_large_photo_is_restored_in_tiles_to_what_it_is_whole():
    noisy = noisy_picture(130, 130)[0].clamp(0, 1).repeat(1, 1, 10, 10)
    progress = CountingProgress()
    tiled = unblur.restore(noisy, method=str(TOY), sigma=0.08, progress=progress)
    assert max(total or 0 for total in progress.promised) >= 4, "tiles"
    whole = methods.get(str(TOY))(Observation(blurry=noisy, sigma=0.08)).image
    torch.testing.assert_close(tiled, whole.clamp(0, 1), atol=1e-4, rtol=0)


def test_it_has_a_row_in_a_benchmark_with_the_weights_that_are_named(monkeypatch, run):
    monkeypatch.setattr(datasets, "get", lambda name: benchmark_cast.Tiny())
    settings = ({}, {"weights": str(run / "weights.safetensors")})
    rows = [benchmark_cast.only_row(str(TOY), settings=given) for given in settings]
    assert all(row["method"] == "toy" and row["error"] is None for row in rows)
    assert rows[0]["psnr"] != rows[1]["psnr"]


def test_its_network_can_be_exported():
    exported = network(methods.get(str(TOY)), "compact")
    assert exported(torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 1, 1)).shape == (1, 1, 16, 16)


def test_it_passes_the_tests_of_all_methods_once_its_folder_lies_among_theirs():
    files = [
        HERE / f"{name}.py"
        for name in ("test_methods_contract", "test_methods_contract_flat", "test_trained", "test_training_recipe")
    ]
    path = os.pathsep.join((str(HERE), *filter(None, sys.path)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-n0",
        "-p",
        "toy_installed",
        "-p",
        "no:cacheprovider",
        "-vv",
        "-k",
        "toy",
        *files,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=HERE.parent)
    assert done.returncode == 0, done.stdout
    assert len(re.findall(r"^tests.*\[toy.* PASSED", done.stdout, re.MULTILINE)) >= 25


def test_nothing_outside_its_folder_names_it():
    sources = Path(unblur.__file__).parent.rglob("*.py")
    assert not [path for path in sources if re.search(r"\btoy\b", path.read_text())]
