"""`unblur train` and `unblur synth` as a person types them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

import unblur.training.recipe
from trainables import photo_folder
from unblur.cli import app
from unblur.imaging.psf import gaussian_psf
from unblur.layers.weights import read_tensors
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.training.photos import Photos, Samples
from unblur.training.recipe import parse_recipe
from unblur.training.sheets import write_sample

RECIPE = """
[compact]
batch = 2
precision = "32"
validation = 2
validate_every = 2
[[compact.stages]]
name = "denoise"
steps = 2
[compact.stages.optimizers.stack]
trains = ["stack"]
rate = 1e-3
[[compact.stages]]
name = "deblur"
steps = 2
[compact.stages.optimizers.stack]
trains = ["stack"]
rate = 1e-3
[compact.network]
widths = [8, 8]
blocks = 1
[compact.observations]
side = 40
psf_size = [3, 7]
"""


@pytest.fixture
def photos(tmp_path):
    return photo_folder(tmp_path / "photos")


@pytest.fixture
def small(monkeypatch):
    """The recipe of wiener_stack is a tiny one."""
    monkeypatch.setattr(
        unblur.training.recipe, "read_recipe", lambda method, preset, _: parse_recipe(RECIPE, preset, "recipe.toml")
    )


def unblur_says(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, " ".join(result.output.split())


def train(photos, run, *more):
    return unblur_says("train", "wiener_stack", "--photos", photos, "-o", run, "--accelerator", "cpu", *more)


def test_a_run_leaves_weights_that_restore(tmp_path, photos, small):
    code, said = train(photos, tmp_path / "run", "--workers", "1")
    assert code == 0 and "dB on the validation photos after 4 steps" in said
    assert "run: training wiener_stack, 4 steps" in said and "run: step 2, loss" in said, "nobody is looking at a bar"
    weights = tmp_path / "run" / "weights.safetensors"
    psf = tmp_path / "psf.npy"
    np.save(psf, np.full((1, 5), 0.2, np.float32))
    photo = photos / "photo-0.png"
    words = ("restore", photo, "--psf", psf, "--method", "wiener_stack", "--weights", weights, "--force")
    code, said = unblur_says(*words, "-o", tmp_path / "out.png")
    assert code == 0, said
    assert Image.open(tmp_path / "out.png").size == Image.open(photo).size


def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(tmp_path, photos, small):
    assert train(photos, tmp_path / "run")[0] == 0
    code, said = train(photos, tmp_path / "run")
    assert code == 2 and "holds a run already. Add --resume" in said
    code, said = train(photos, tmp_path / "other", "--resume")
    assert code == 2 and "no checkpoint to resume from" in said
    code, said = train(photos, tmp_path / "run", "--resume", "--steps", "6")
    assert code == 2 and "not the same recipe" in said
    (tmp_path / "run" / "checkpoint.safetensors").unlink()
    kept = (tmp_path / "run" / "weights.safetensors").read_bytes()
    code, said = train(photos, tmp_path / "run")
    assert code == 2 and "weights.safetensors is there already" in said
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == kept


def test_a_run_may_begin_with_the_weights_of_another(tmp_path, photos, small):
    assert train(photos, tmp_path / "one")[0] == 0
    weights = tmp_path / "one" / "weights.safetensors"
    assert train(photos, tmp_path / "two", "--init", weights, "--steps", "1")[0] == 0
    ends = [read_tensors(tmp_path / run / "weights.safetensors")[0] for run in ("one", "two")]
    assert all((ends[1][name] - tensor).abs().max() < 0.01 for name, tensor in ends[0].items()), "one step away"
    assert any(not torch.equal(ends[1][name], tensor) for name, tensor in ends[0].items())
    code, said = train(photos, tmp_path / "two", "--resume", "--init", weights)
    assert code == 2 and "leave --init out" in said
    code, said = train(photos, tmp_path / "three", "--init", tmp_path / "none.safetensors")
    assert code == 2 and "none.safetensors: no such file" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--precision", "fp8"), "--precision is 32 or bf16"),
        (("--devices", "5"), "cannot be shared out evenly to 5 devices"),
        (("--preset", "huge"), "no preset 'huge'"),
        (("--init", "nowhere.safetensors"), "nowhere.safetensors: no such file"),
        (("--recipe", "nowhere.toml"), "nowhere.toml: cannot be read as a recipe"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(tmp_path, photos, words, said):
    code, output = train(photos, tmp_path / "run", *words)
    assert code == 2 and said in output
    assert not (tmp_path / "run").exists()


def test_a_method_without_a_network_and_a_folder_without_photos_are_refused(tmp_path, photos):
    code, said = unblur_says("train", "wiener", "--photos", photos, "-o", tmp_path / "run")
    assert code == 2 and "'wiener' has no network to train" in said
    code, said = train(tmp_path / "nowhere", tmp_path / "run")
    assert code == 2 and "no such folder" in said


def test_a_folder_that_cannot_be_made_and_a_device_that_is_not_there_are_named(tmp_path, photos, small):
    (tmp_path / "file").write_text("")
    code, said = train(photos, tmp_path / "file" / "run")
    assert code == 2 and "no such folder can be made" in said
    code, said = train(photos, tmp_path / "run", "--accelerator", "abacus")
    assert code == 2 and "--accelerator abacus" in said
    assert not (tmp_path / "run").exists()
    code, said = unblur_says("synth", "wiener_stack", "--photos", photos, "-o", tmp_path / "file")
    assert code == 2 and "no such folder can be made" in said


def test_a_recipe_of_ones_own_is_trained_by(tmp_path, photos):
    (tmp_path / "mine.toml").write_text(RECIPE)
    code, said = train(photos, tmp_path / "run", "--recipe", tmp_path / "mine.toml")
    assert code == 0 and "after 4 steps" in said


def test_ctrl_c_ends_the_step_and_keeps_it(tmp_path, photos):
    (tmp_path / "mine.toml").write_text(RECIPE.replace("steps = 2", "steps = 5000"))
    words = f"train wiener_stack --photos {photos} -o {tmp_path / 'run'} --recipe {tmp_path / 'mine.toml'}"
    command = [sys.executable, "-m", "unblur", *words.split(), "--accelerator", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "step 2" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == f"stopped; --resume goes on from the last checkpoint in {tmp_path / 'run'}."
    assert 2 <= read_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]["step"] < 10_000


def test_synth_writes_psfs_as_they_are_and_to_look_at(tmp_path):
    psf = gaussian_psf(1.0, 5)
    write_sample(tmp_path, "7", {"blurry": torch.rand(3, 8, 9), "psf": psf[None], "seen": torch.rand(5, 8, 9)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7_blurry.png", "7_psf.png", "7_psf.tif"]
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "7_psf.tif"), psf.float().numpy())
    assert np.asarray(Image.open(tmp_path / "7_psf.png")).max() == 255


def test_synth_writes_what_training_sees(tmp_path, photos, small):
    words = ("synth", "wiener_stack", "--photos", photos, "--count", "2", "-o")
    for folder in ("a", "b"):
        assert unblur_says(*words, tmp_path / folder)[0] == 0
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    parts = (".json", "_blurry.png", "_noisy.png", "_psf.png", "_psf.tif", "_sharp.png")
    assert names == [f"{n}{part}" for n in (0, 1) for part in parts]
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    assert 0 < json.loads((tmp_path / "a" / "0.json").read_text())["sigma"] <= 0.2
    recipe = parse_recipe(RECIPE, "compact", "recipe.toml")
    trainable = WienerStackTraining(recipe.network, recipe.observations)
    sample = Samples(Photos.of(photos).training, trainable, 0)[1]
    written = np.asarray(Image.open(tmp_path / "a" / "1_blurry.png")) / 255
    assert np.abs(written - sample["blurry"][0].numpy()).max() < 1 / 255
    code, said = unblur_says(*words, tmp_path / "a")
    assert code == 2 and "is not empty" in said
