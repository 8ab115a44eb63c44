"""The loop: it learns, goes on where it was killed, and does not care how many devices it has."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from helpers import CountingProgress
from trainables import Adversaries, Denoiser, photo_folder, recipe
from unblur.trained import read_tensors
from unblur.training import checkpoint, loop
from unblur.training.average import running_average
from unblur.training.loop import train
from unblur.training.run import CHECKPOINT, WEIGHTS, Run
from unblur.training.sources import Photos
from unblur.types import Cancelled, Progress, UnblurError


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return Photos.of(photo_folder(tmp_path_factory.mktemp("photos")))


OPTIMIZERS = {"all": {"trains": ["denoiser"], "rate": 0.01}, "critic": {"trains": ["critic"], "rate": 0.01}}
TWO_STAGES = [{"name": name, "steps": 2, "optimizers": OPTIMIZERS} for name in ("first", "second")]


def run_in(folder: Path, photos: Photos, trainable=None, *, resume=False, progress=None, **changed) -> float:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(0)
    run = Run("denoiser", "small", recipe(**changed), photos, Denoiser, folder)
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    return train(run, trainable or Denoiser(), fabric, progress or Progress(), resume=resume)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / CHECKPOINT)[0]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(tensor, b[name]) for name, tensor in a.items())


def figures(folder: Path, name: str) -> list[float]:
    """What the log says of a figure, in its order."""
    rows = csv.DictReader((folder / "log.csv").read_text().splitlines())
    return [float(row["value"]) for row in rows if row["name"] == name]


def score_of(folder: Path) -> float:
    return read_tensors(folder / WEIGHTS)[1]["score"]


class WatchedProgress(Progress):
    """Keeps the figures of each step."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[dict[str, float]] = []

    def on_advance(self, steps, figures):
        if figures:
            self.shown.append(figures)


class StopsAfter(CountingProgress):
    """Cancels a run after so many steps, at any of which it might have been killed."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def on_advance(self, steps, figures):
        super().on_advance(steps, figures)
        if figures:
            self._left -= 1
            if not self._left:
                self.cancel()


# --- learning -------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_validation_rises(tmp_path, photos):
    score = run_in(tmp_path, photos, steps=60, validate_every=20, average=0.9)
    losses, scores = figures(tmp_path, "all/square"), figures(tmp_path, "psnr")
    assert losses[-1] < 0.5 * losses[0]
    assert scores[-1] == pytest.approx(score, abs=1e-3) and score > scores[0] > 5


def test_what_a_run_leaves_is_what_it_says(tmp_path, photos):
    progress = CountingProgress()
    run_in(tmp_path, photos, progress=progress)
    assert progress.promised == progress.done == [8]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["0000004.png", "0000008.png"]
    assert list((tmp_path / "tensorboard").glob("events*"))
    weights, facts = read_tensors(tmp_path / WEIGHTS)
    assert (facts["method"], facts["step"], facts["steps"]) == ("denoiser", 8, 8)
    average = {key.removeprefix("average/"): t for key, t in state(tmp_path).items() if key.startswith("average/")}
    assert_same(weights, {name: tensor.half() for name, tensor in average.items()})


def test_several_optimisers_step_in_turn_and_several_stages_follow_each_other(tmp_path, photos):
    trainable = Adversaries()
    before = {name: module.weight.clone() for name, module in trainable.modules.items()}
    run_in(tmp_path, photos, trainable, stages=TWO_STAGES)
    turns = ["critic", "all"]
    assert trainable.order == [f"{stage}:{turn}" for stage in ("first", "second") for _ in range(2) for turn in turns]
    weights = state(tmp_path)
    assert all(not torch.equal(weights[f"weights/{name}.weight"], before[name]) for name in before)


def test_every_loss_is_logged_and_shown_by_its_name_and_never_a_sum(tmp_path, photos):
    progress = WatchedProgress()
    run_in(tmp_path, photos, Adversaries(), stages=TWO_STAGES, progress=progress)
    names = {"critic/gap", "all/square", "all/critic"}
    assert all(names <= set(shown) <= names | {"psnr", "per_second"} for shown in progress.shown)
    for name in names:
        mean = sum(shown[name] for shown in progress.shown) / 4
        assert figures(tmp_path, name) == [pytest.approx(mean, rel=1e-4)]


def test_weights_of_modules_that_do_not_ship_are_in_the_checkpoint_only(tmp_path, photos):
    run_in(tmp_path, photos, Adversaries(), stages=TWO_STAGES, ships=["denoiser"])
    assert set(read_tensors(tmp_path / WEIGHTS)[0]) == {"denoiser.weight"}
    assert {"weights/critic.bias", "average/critic.bias"} <= set(state(tmp_path))


def test_a_loss_that_is_no_number_ends_the_run_and_says_what_to_do(tmp_path, photos):
    trainable = Denoiser()
    torch.nn.init.constant_(trainable.modules["denoiser"].weight, float("inf"))
    with pytest.raises(UnblurError, match="no longer a number"):
        run_in(tmp_path, photos, trainable)
    assert not (tmp_path / CHECKPOINT).exists()


def test_a_gradient_that_is_no_number_does_not_reach_the_weights(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(loop, "_SAVE_EVERY", -1.0)  # after every step
    trainable = Denoiser()
    steps = iter(range(10))

    def losses(stage, batch):
        ((name, named),) = Denoiser.losses(trainable, stage, batch)
        weight = trainable.modules["denoiser"].weight
        fault = 0 * (weight - weight).abs().sqrt().sum() if next(steps) == 3 else 0  # its gradient is 0 * inf
        yield name, {"square": named["square"] + fault}

    trainable.losses = losses
    with pytest.raises(UnblurError, match=r"gradient is no longer a number.*--init"):
        run_in(tmp_path, photos, trainable)
    assert read_tensors(tmp_path / CHECKPOINT)[1]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state(tmp_path).values())


def test_the_rate_rises_and_falls_as_planned(tmp_path, photos, monkeypatch):
    rates = []
    descend = loop._descend
    monkeypatch.setattr(loop, "_descend", lambda *a: rates.append(a[1].param_groups[0]["lr"]) or descend(*a))
    run_in(tmp_path, photos)
    (stage,) = recipe().stages
    assert rates == [stage.rate_at("all", step) for step in range(8)]
    assert len(set(rates)) > 5


def test_a_long_gradient_is_cut_to_the_length_that_the_recipe_allows(tmp_path, photos, monkeypatch):
    lengths = []
    step = torch.optim.AdamW.step

    def watched(self, *words, **more):
        weights = [weight for group in self.param_groups for weight in group["params"]]
        lengths.append(float(torch.stack([weight.grad.square().sum() for weight in weights]).sum().sqrt()))
        return step(self, *words, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    run_in(tmp_path / "free", photos)
    free = lengths.copy()
    lengths.clear()
    optimizers = {"all": {**OPTIMIZERS["all"], "clip": min(free) / 2}}
    run_in(tmp_path / "clipped", photos, stages=[{"name": "only", "steps": 8, "warmup": 2, "optimizers": optimizers}])
    assert all(length == pytest.approx(min(free) / 2, rel=1e-3) for length in lengths)


def test_validation_is_of_the_average_weights_and_leaves_the_networks_in_training(tmp_path, photos):
    seen = []
    trainable = Denoiser()
    restore = trainable.restore

    def watched(batch):
        module = trainable.modules["denoiser"]
        seen.append((module.training, len(batch["sharp"]), module.weight.detach().clone()))
        return restore(batch)

    trainable.restore = watched
    run_in(tmp_path, photos, trainable)
    validated = [weight for training, _, weight in seen if not training]
    assert len(validated) == 2 * 2 and all(training for training, size, _ in seen if size == 4)
    assert torch.equal(validated[-1], state(tmp_path)["average/denoiser.weight"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "frist"}, "there is no stage 'frist'.*'first'"),
        ({"optimizers": {"al": {"trains": ["denoiser"], "rate": 0.01}}}, "stage 'first' has no"),
        ({"optimizers": {"all": {"trains": ["denoizer"], "rate": 0.01}}}, "trains 'denoizer'.*'denoiser'"),
    ],
)
def test_a_recipe_that_asks_for_what_there_is_not_is_refused_at_once(tmp_path, photos, change, said):
    good = {"name": "first", "steps": 2, "optimizers": {"all": {"trains": ["denoiser"], "rate": 0.01}}}
    with pytest.raises(UnblurError, match=said):
        run_in(tmp_path, photos, stages=[{**good, "name": "second"}, {**good, **change}])
    assert not (tmp_path / "log.csv").exists()


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("stopped_after", [2, 4, 5])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, photos, monkeypatch, stopped_after, stages):
    optimizers = {"all": {"trains": ["denoiser"], "rate": 0.01}}
    names = ("first", "second")[:stages]
    plan = [{"name": name, "steps": 8 // stages, "warmup": 2, "optimizers": optimizers} for name in names]
    monkeypatch.setattr(loop, "_SAVE_EVERY", -1.0)  # after every step
    run_in(tmp_path / "whole", photos, stages=plan)
    with pytest.raises(Cancelled):
        run_in(tmp_path / "parts", photos, stages=plan, progress=StopsAfter(stopped_after))
    run_in(tmp_path / "parts", photos, stages=plan, resume=True)
    assert_same(state(tmp_path / "parts"), state(tmp_path / "whole"))
    assert score_of(tmp_path / "parts") == score_of(tmp_path / "whole")
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("parts", "whole")]
    assert [line for line in logs[0] if "per_second" not in line] == [
        line for line in logs[1] if "per_second" not in line
    ]


def test_a_run_that_is_stopped_keeps_all_its_steps(tmp_path, photos):
    """Though the next checkpoint was not due for minutes."""
    with pytest.raises(Cancelled):
        run_in(tmp_path / "run", photos, progress=StopsAfter(2))
    assert read_tensors(tmp_path / "run" / CHECKPOINT)[1]["step"] == 2


@pytest.mark.parametrize("more", ["6,psnr,12.0\n", "6,psnr\n\0"], ids=["a line", "part of a line"])
def test_what_the_log_says_beyond_the_checkpoint_is_dropped(tmp_path, photos, more):
    run_in(tmp_path, photos, steps=4, validate_every=2)
    rows = (tmp_path / "log.csv").read_text()
    (tmp_path / "log.csv").write_text(rows + more)
    run_in(tmp_path, photos, steps=4, validate_every=2, resume=True)
    assert (tmp_path / "log.csv").read_text() == rows


def test_a_checkpoint_of_other_photos_is_refused(tmp_path, photos):
    run_in(tmp_path / "run", photos)
    others = Photos.of(photo_folder(tmp_path / "others", count=3))
    with pytest.raises(UnblurError, match="is of another run: not the same samples"):
        run_in(tmp_path / "run", others, resume=True)


def test_a_damaged_checkpoint_is_named_with_a_way_out(tmp_path, photos):
    run_in(tmp_path, photos)
    checkpoint = tmp_path / CHECKPOINT
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(UnblurError, match=r"checkpoint\.safetensors: not a file of weights.*--init .*weights\.safet"):
        run_in(tmp_path, photos, resume=True)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path, photos):
    run_in(tmp_path, photos)
    said = r"checkpoint\.safetensors is of another run: not the same recipe \(batch was 4, is 2\)"
    with pytest.raises(UnblurError, match=said):
        run_in(tmp_path, photos, batch=2, resume=True)
    with pytest.raises(UnblurError, match=r"not the same recipe \(stages: 1: steps was 8, is 9\)"):
        run_in(tmp_path, photos, steps=9, resume=True)


def test_a_killed_process_goes_on_bit_for_bit(tmp_path, photos):
    """`kill -9`, at whatever moment."""
    script = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_training_loop as here
from unblur.training import loop
from unblur.training.sources import Photos
loop._SAVE_EVERY = -1.0
photos = Photos.of(Path({str(photos.training[0].parent)!r}))
here.run_in(Path(sys.argv[1]), photos, steps=300, resume=sys.argv[2] == "on")
"""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([sys.executable, "-c", script, str(whole), "off"], check=True, env=_environment())
    process = subprocess.Popen([sys.executable, "-c", script, str(parts), "off"], env=_environment())
    while not (parts / CHECKPOINT).exists():
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert int(read_tensors(parts / CHECKPOINT)[1]["step"]) < 300
    subprocess.run([sys.executable, "-c", script, str(parts), "on"], check=True, env=_environment())
    assert_same(state(parts), state(whole))


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


# --- checkpoints and averages ---------------------------------------------------------------------


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, {"x": torch.ones(3)}, {"step": 1})

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path, {"x": torch.zeros(3)}, {"step": 2})
    tensors, facts = read_tensors(path)
    assert facts == {"step": 1} and tensors["x"].sum() == 3


def test_weights_of_another_network_are_refused():
    with pytest.raises(UnblurError, match=r"a.safetensors: these are the weights of another network"):
        checkpoint.put_weights({"m": torch.nn.Conv2d(1, 1, 3)}, {"m.weight": torch.ones(2, 1, 3, 3)}, "a.safetensors")


def test_the_average_follows_the_weights():
    module = torch.nn.Linear(1, 1, bias=False)
    average, expected = running_average(module, 0.75), 0.0
    for step, weight in enumerate((1.0, 2.0, -1.0, 4.0), start=1):
        torch.nn.init.constant_(module.weight, weight)
        average.update_parameters(module)
        decay = min(0.75, step / (9 + step))
        expected = weight if step == 1 else decay * expected + (1 - decay) * weight
    assert float(average.module.weight) == pytest.approx(expected)
    assert module.weight.item() == 4
