"""The training loop: every method's, on one device or many.

Whatever is random depends on the run's seed and the number of the step alone, and all else a run is made of is in its
last checkpoint. So a run that was killed goes on as if nothing had happened: on a CPU bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from unblur.contract import Trainable, nearest
from unblur.layers.weights import channels_last, read_tensors
from unblur.metrics import psnr
from unblur.training import checkpoint
from unblur.training.average import Average
from unblur.training.journal import Journal
from unblur.training.photos import Photos, Samples, mixed_seed, training_batches, validation_batch
from unblur.training.recipe import Recipe, StagePlan, difference
from unblur.types import Progress, UnblurError

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
_DICE = 2**20  # keeps the dice of losses and dropout apart from those of samples
_SAVE_EVERY = 120.0  # seconds between two checkpoints


@dataclass(frozen=True)
class Run:
    """What is to be done, and where.

    Attributes:
        method: name of the method.
        preset: name of the preset.
        recipe: what to do.
        photos: what to make samples of.
        folder: for checkpoint, weights, log and pictures.
        workers: processes that make samples; 0: the loop does.
    """

    method: str
    preset: str
    recipe: Recipe
    photos: Photos
    folder: Path
    workers: int

    def facts(self) -> dict[str, object]:
        """What a checkpoint must agree in to go on from."""
        recipe = self.recipe.model_dump(mode="json")
        return {"method": self.method, "preset": self.preset, "recipe": recipe, "photos": self.photos.digest()}


def train(run: Run, trainable: Trainable, fabric: Fabric, progress: Progress, *, resume: bool) -> float:
    """Train from the beginning, or from the last checkpoint in the run's folder; the last validation's PSNR in dB.

    `weights.safetensors` in the folder then holds the running average of the weights.

    Raises:
        UnblurError: when the checkpoint is that of another recipe, or the loss is no longer a number.
        Cancelled: after `progress.cancel()` and a last checkpoint.
    """
    recipe = run.recipe
    modules = dict(trainable.modules)  # as they are, without what Fabric wraps around them
    for name, module in modules.items():
        trainable.modules[name] = fabric.setup_module(channels_last(module))
    _check(recipe, trainable, modules)
    average = Average(modules, recipe.average)
    step, score, memory, unwritten = _resume(run, modules, average) if resume else (0, float("nan"), {}, {})
    samples = Samples(run.photos.training, trainable, recipe.seed)
    shown = fabric.to_device(validation_batch(run.photos, trainable, recipe.validation))
    journal = Journal(run.folder if fabric.is_global_zero else None, step, unwritten)
    progress.stage(f"training {run.method}", recipe.steps)
    progress.advance(step)
    saved_at = time.monotonic()

    for stage, steps in _stages_left(recipe, step):
        optimizers = _optimizers(stage, modules, fabric)
        checkpoint.put_optimizer_tensors(optimizers, memory)
        memory = {}
        batches = training_batches(
            samples,
            batch=recipe.batch,
            steps=range(step, steps.stop),
            rank=fabric.global_rank,
            ranks=fabric.world_size,
            workers=run.workers,
        )
        clock = _Clock(recipe.batch)
        for batch in map(fabric.to_device, batches):
            torch.manual_seed(mixed_seed(_DICE + recipe.seed, step))  # on every device the same
            figures: dict[str, float] = {}
            for name, loss in trainable.losses(stage.name, batch):
                _set_rate(optimizers[name], stage.rate_at(name, step - steps.start))
                figures[name] = _descend(fabric, optimizers[name], loss, recipe.clip)
            step += 1
            average.update(step)
            if step % recipe.validate_every == 0 or step == recipe.steps:
                score = _validate(trainable, modules, average, shown, journal, step)
            journal.note(step, figures, clock.tick(), last=step == recipe.steps)
            known = {"psnr": score} if score == score else {}  # no validation yet
            if time.monotonic() - saved_at > _SAVE_EVERY or step == steps.stop or progress.cancelled:
                if fabric.is_global_zero:
                    _save(run, trainable, modules, average, optimizers, step, score, journal)
                saved_at = time.monotonic()
            progress.advance(1, loss=sum(figures.values()), **known, per_second=clock.rate)
    journal.close()
    fabric.barrier()
    return score


def _stages_left(recipe: Recipe, done: int) -> Iterator[tuple[StagePlan, range]]:
    """The stages that are not over after `done` steps, each with its steps."""
    start = 0
    for stage in recipe.stages:
        steps = range(start, start + stage.steps)
        if done < steps.stop:
            yield stage, steps
        start = steps.stop


def _check(recipe: Recipe, trainable: Trainable, modules: Mapping[str, nn.Module]) -> None:
    """Refuse a recipe that asks for what there is not, before hours have gone into an earlier stage."""
    for stage in recipe.stages:
        if stage.name not in trainable.stages:
            raise UnblurError(f"there is no stage '{stage.name}'.{nearest(stage.name, trainable.stages)}")
        wanted = trainable.stages[stage.name]
        for name in wanted ^ set(stage.optimizers):
            fault = f"has no optimiser '{name}'" if name in wanted else f"has no loss for an optimiser '{name}'"
            raise UnblurError(f"stage '{stage.name}' {fault}; what it needs: {', '.join(sorted(wanted))}.")
        for name, plan in stage.optimizers.items():
            missing = sorted(set(plan.trains) - set(modules))
            if missing:
                raise UnblurError(
                    f"stage '{stage.name}': optimiser '{name}' trains '{missing[0]}'.{nearest(missing[0], modules)}"
                )


def _optimizers(stage: StagePlan, modules: Mapping[str, nn.Module], fabric: Fabric) -> dict[str, Optimizer]:
    optimizers = {}
    for name, plan in stage.optimizers.items():
        weights = [weight for module in plan.trains for weight in modules[module].parameters()]
        optimizer = AdamW(weights, plan.rate, plan.betas, weight_decay=plan.weight_decay)
        optimizers[name] = fabric.setup_optimizers(optimizer)
    return optimizers


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _descend(fabric: Fabric, optimizer: Optimizer, loss: Tensor, clip: float | None) -> float:
    """One step of an optimiser; the loss, averaged over the devices. No step is taken with what is no number."""
    optimizer.zero_grad(set_to_none=True)
    fabric.backward(loss)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    length = nn.utils.clip_grad_norm_(weights, math.inf if clip is None else clip)
    mean = fabric.all_reduce(loss.detach())
    assert isinstance(mean, Tensor)
    if not (mean.isfinite() and length.isfinite()):
        raise UnblurError(
            "the loss or its gradient is no longer a number. Begin another run from this one's weights (--init) with a "
            "lower rate in the recipe, or a shorter `clip`."
        )
    optimizer.step()
    return float(mean)


def _validate(
    trainable: Trainable,
    modules: Mapping[str, nn.Module],
    average: Average,
    shown: Mapping[str, Tensor],
    journal: Journal,
    step: int,
) -> float:
    """Mean PSNR in dB of the validation observations with the average weights; draws the first of them."""
    with average.in_place_of(modules), torch.no_grad():
        for module in modules.values():
            module.eval()
        restored = torch.cat([trainable.restore(part) for part in _one_by_one(shown)])  # (N, C, H, W)
        for module in modules.values():
            module.train()
    score = float(psnr(restored.clamp(0, 1), shown["sharp"]).mean())
    journal.validated(step, score, shown["blurry"], restored, shown["sharp"])
    return score


def _one_by_one(batch: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    for number in range(len(batch["sharp"])):
        yield {name: tensor[number : number + 1] for name, tensor in batch.items()}


class _Clock:
    """Samples per second, of late."""

    def __init__(self, batch: int) -> None:
        self._batch, self._last, self.rate = batch, time.monotonic(), 0.0

    def tick(self) -> float:
        now = time.monotonic()
        rate = self._batch / max(now - self._last, 1e-9)
        self.rate = 0.95 * self.rate + 0.05 * rate if self.rate else rate
        self._last = now
        return self.rate


# --- checkpoints ----------------------------------------------------------------------------------


def _save(
    run: Run,
    trainable: Trainable,
    modules: Mapping[str, nn.Module],
    average: Average,
    optimizers: Mapping[str, Optimizer],
    step: int,
    score: float,
    journal: Journal,
) -> None:
    """Everything needed to go on, and the average weights by themselves."""
    parts = {
        "weights": checkpoint.state_of(modules),
        "average": average.weights,
        "memory": checkpoint.optimizer_tensors(optimizers),
    }
    tensors = {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
    about = {"method": run.method, "preset": run.preset, "step": step, "steps": run.recipe.steps, "score": score}
    # The weights first: a run that is killed in between writes them again when it goes on.
    checkpoint.save(run.folder / WEIGHTS, checkpoint.halved(average.weights), {**about, **trainable.description})
    checkpoint.save(
        run.folder / CHECKPOINT, tensors, {**run.facts(), "step": step, "score": score, "log": journal.unwritten}
    )


def _resume(
    run: Run, modules: Mapping[str, nn.Module], average: Average
) -> tuple[int, float, dict[str, Tensor], dict[str, list[float]]]:
    """Steps done, last score, optimisers' memory and unwritten losses; weights and average are put in their places."""
    path = run.folder / CHECKPOINT
    try:
        tensors, facts = read_tensors(path)
    except UnblurError as error:
        remedy = f"To begin again with what was learned: --init {path.with_name(WEIGHTS)} and another -o."
        raise UnblurError(f"{error} {remedy}") from None
    for key, value in run.facts().items():
        if facts.get(key) != value:
            was = difference(facts.get(key), value)
            raise UnblurError(f"{path} is of another run: not the same {key}{was}. Take another -o, or the same {key}.")
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "memory": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    checkpoint.put_state(modules, parts["weights"], str(path))
    average.put(parts["average"])
    step = int(facts["step"])
    ends = [steps.stop for _, steps in _stages_left(run.recipe, 0)]
    memory = {} if step in ends else parts["memory"]  # a new stage has new optimisers
    return step, float(facts["score"]), memory, facts["log"]
