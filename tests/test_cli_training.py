"""`unblur train` and `unblur synth` as a person types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import unblur.training.recipe
from trainables import photo_folder
from unblur.cli import app
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.trained import read_tensors
from unblur.training.batches import Samples
from unblur.training.recipe import parse_recipe
from unblur.training.sample_files import read_sample
from unblur.training.sources import Photos

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
    assert code == 0 and "dB in validation after 4 steps" in said
    assert "run: training wiener_stack, 4 steps" in said and "run: step 2, stack/psnr" in said, (
        "nobody is looking at a bar"
    )
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
        (("--devices", "5"), "cannot be divided evenly among 5 devices"),
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
    assert code == 2 and "this folder cannot be made" in said
    code, said = train(photos, tmp_path / "run", "--accelerator", "abacus")
    assert code == 2 and "--accelerator abacus" in said
    assert not (tmp_path / "run").exists()
    code, said = unblur_says("synth", "wiener_stack", "--photos", photos, "-o", tmp_path / "file")
    assert code == 2 and "this folder cannot be made" in said


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
    assert errors.splitlines()[-1] == f"stopped; --resume continues from the last checkpoint in {tmp_path / 'run'}."
    assert 2 <= read_tensors(tmp_path / "run" / "checkpoint.safetensors")[1]["step"] < 10_000


def test_synth_writes_what_training_sees(tmp_path, photos, small):
    words = ("synth", "wiener_stack", "--photos", photos, "--count", "2", "-o")
    for folder, workers in (("a", 0), ("b", 2)):
        assert unblur_says(*words, tmp_path / folder, "--workers", workers)[0] == 0
    written = {folder: contents(tmp_path / folder) for folder in ("a", "b")}
    assert written["a"] == written["b"]
    recipe = parse_recipe(RECIPE, "compact", "recipe.toml")
    make = partial(WienerStackTraining, recipe.network, recipe.observations)
    sample = Samples(Photos.of(photos), "training", make, 0)[1]
    read = read_sample(tmp_path / "a" / "0000001")
    assert read.keys() == sample.keys()
    for name, tensor in sample.items():
        torch.testing.assert_close(read[name], tensor, atol=1e-5, rtol=0)
    assert torch.equal(read["psf"], sample["psf"]) and torch.equal(read["blurry"], sample["blurry"])


def test_synth_draws_a_share_of_the_samples(tmp_path, photos, small):
    words = ("synth", "wiener_stack", "--photos", photos, "--count", "4", "--workers", "0", "-o")
    assert unblur_says(*words, tmp_path / "plain")[0] == 0
    assert unblur_says(*words, tmp_path / "drawn", "--drawn", "0.9")[0] == 0
    same = [
        torch.equal(*(read_sample(tmp_path / folder / f"{number:07d}")["sharp"] for folder in ("plain", "drawn")))
        for number in range(4)
    ]
    assert same[0] and not any(same[1:]), "number 0 is for validation"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_learns_from_samples_and_the_folder_is_filled_on(tmp_path, photos, small):
    words = ("synth", "wiener_stack", "--photos", photos, "-o", tmp_path / "samples", "--workers", "0")
    assert unblur_says(*words, "--count", "2")[0] == 0
    code, said = unblur_says(*words, "--count", "4")
    assert code == 2 and "Add --resume" in said
    code, said = unblur_says(*words, "--count", "4", "--seed", "1", "--resume")
    assert code == 2 and "not the same seed (was 0, is 1)" in said
    assert unblur_says(*words, "--count", "4", "--resume")[0] == 0
    learn = ("train", "wiener_stack", "--samples", tmp_path / "samples", "-o", tmp_path / "run", "--accelerator", "cpu")
    code, said = unblur_says(*learn)
    assert code == 0 and "after 4 steps" in said
    manifest = json.loads((tmp_path / "samples" / "samples.json").read_text())
    assert (manifest["method"], manifest["seed"]) == ("wiener_stack", 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Name one folder to learn from. 'wiener_stack' learns from --photos, or from --samples"),
        (("--photos", "{photos}", "--samples", "{photos}"), "Name one folder"),
        (("--pairs", "{pairs}"), "'wiener_stack' learns from --photos, not from pairs"),
        (("--samples", "{photos}"), "samples.json: missing or damaged"),
        (("--samples", "{photos}", "--drawn", "0.2"), "--drawn is a share beside --photos"),
        (("--photos", "{photos}", "--drawn", "1"), "--drawn is a share of the samples, from 0 to below 1, not 1."),
    ],
)
def test_a_source_that_will_not_do_is_refused(tmp_path, photos, words, said):
    for scene in ("a", "b"):
        for part in ("blur", "sharp"):
            folder = tmp_path / "pairs" / scene / part
            folder.mkdir(parents=True)
            (folder / "0.png").write_bytes((photos / "photo-0.png").read_bytes())
    given = [word.format(photos=photos, pairs=tmp_path / "pairs") for word in words]
    code, output = unblur_says("train", "wiener_stack", "-o", tmp_path / "run", *given)
    assert code == 2 and said in output
    assert not (tmp_path / "run").exists()


# --- two processes --------------------------------------------------------------------------------

TWO_NETWORKS = Path(__file__).parent / "two_networks" / "two_networks.py"


@pytest.fixture(scope="module")
def more_photos(tmp_path_factory):
    return photo_folder(tmp_path_factory.mktemp("photos"))


def command(photos, run, *more) -> list[str]:
    words = ("train", TWO_NETWORKS, "--photos", photos, "-o", run, "--accelerator", "cpu", *more)
    return [sys.executable, "-m", "unblur", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_two_processes_come_to_the_weights_of_one(tmp_path, more_photos):
    """With two optimisers, and several forward passes of each network in a step."""
    for run, more in (("one", ()), ("two", ("--devices", 2))):
        subprocess.run(command(more_photos, tmp_path / run, *more), check=True, env=environment(), capture_output=True)
    one, two = (read_tensors(tmp_path / run / "checkpoint.safetensors") for run in ("one", "two"))
    assert one[0].keys() == two[0].keys() and one[1]["step"] == two[1]["step"] == 6
    for name, tensor in one[0].items():
        torch.testing.assert_close(two[0][name], tensor, rtol=1e-4, atol=1e-6)
    assert one[1]["score"] == pytest.approx(two[1]["score"], abs=1e-3)


def test_a_signal_to_one_of_two_processes_stops_both_and_their_run_goes_on(tmp_path, more_photos):
    run, log = tmp_path / "run", tmp_path / "said"
    words = command(more_photos, run, "--devices", 2, "--steps", 4000)
    with log.open("w") as said, subprocess.Popen(words, stderr=said, env=environment()) as process:
        while "step 2" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)  # not to its child
        assert process.wait(timeout=60) == 130
    assert log.read_text().splitlines()[-1] == f"stopped; --resume continues from the last checkpoint in {run}."
    step = read_tensors(run / "checkpoint.safetensors")[1]["step"]
    assert 2 <= step < 4000
