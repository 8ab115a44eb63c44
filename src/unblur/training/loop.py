"""The training loop of every method, on one device or many.

All random numbers depend only on the run's seed and the number of the step, and the rest of the state is in the last
checkpoint. So a run that was killed continues from there with the same result: on a CPU bit for bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from unblur.contract import Trainable
from unblur.metrics import psnr
from unblur.trained import channels_last, read_tensors
from unblur.training import checkpoint
from unblur.training.average import running_average
from unblur.training.batches import LOSSES, Samples, seed_of, training_batches, validation_batch
from unblur.training.devices import any_process, average_gradients
from unblur.training.log import RunLog
from unblur.training.recipe import OptimizerPlan, Recipe, StagePlan, difference
from unblur.training.run import CHECKPOINT, WEIGHTS, Run, check_recipe
from unblur.types import Cancelled, Progress, UnblurError

_SAVE_EVERY = 120.0  # seconds between two checkpoints


@dataclass
class _State:
    """The state of a run.

    Attributes:
        networks: the modules by name.
        average: a copy of the networks with the running average of their weights.
        step: number of steps done.
        score: PSNR in dB of the last validation; NaN before the first.
        optimizers: the state of the current stage's optimisers, as read from a checkpoint.
        unwritten: losses by name that are not in the log yet.
    """

    networks: nn.ModuleDict
    average: AveragedModel
    step: int = 0
    score: float = float("nan")
    optimizers: Mapping[str, Tensor] = field(default_factory=dict)
    unwritten: Mapping[str, list[float]] = field(default_factory=dict)


def train(run: Run, trainable: Trainable, fabric: Fabric, progress: Progress, *, resume: bool) -> float:
    """Train from the beginning or, with `resume`, from the last checkpoint in the run's folder.

    The running average of the weights is written to `weights.safetensors` in this folder.

    Returns:
        PSNR in dB of the last validation.

    Raises:
        UnblurError: when the checkpoint is that of another recipe, or the loss is not finite.
        Cancelled: after `progress.cancel()` in one of the processes; a checkpoint has been written.
    """
    recipe, source = run.recipe, run.source
    check_recipe(recipe, trainable)
    networks = nn.ModuleDict({name: channels_last(module) for name, module in trainable.modules.items()})
    for name, module in networks.items():
        trainable.modules[name] = fabric.setup_module(module)
    state = _State(networks, running_average(networks, recipe.average))
    averages: Any = state.average.module
    validated: dict[str, nn.Module] = {name: fabric.setup_module(module).eval() for name, module in averages.items()}
    if resume:
        _resume(run, state)

    samples = Samples(source.shared_by(run.workers), "training", run.make, recipe.seed)
    shown = fabric.to_device(validation_batch(source, run.make, recipe.validation))
    log = RunLog(run.folder if fabric.is_global_zero else None, state.step, state.unwritten)
    with suppress(Cancelled):  # all processes stop after the same step, see `any_process`
        progress.stage(f"training {run.method}", recipe.steps)
        progress.advance(state.step)
    saved_at = time.monotonic()

    for stage, steps in _stages_left(recipe, state.step):
        optimizers = _optimizers(stage, networks, fabric)
        checkpoint.put_optimizer_tensors(optimizers, state.optimizers)
        state.optimizers = {}
        batches = training_batches(
            samples,
            batch=recipe.batch,
            steps=range(state.step, steps.stop),
            rank=fabric.global_rank,
            ranks=fabric.world_size,
            workers=run.workers,
        )
        clock = _Clock(recipe.batch)
        for batch in map(fabric.to_device, batches):
            torch.manual_seed(seed_of(LOSSES, recipe.seed, state.step))  # the same in every process
            figures: dict[str, float] = {}
            for name, losses in trainable.losses(stage.name, batch):
                _set_rate(optimizers[name], stage.rate_at(name, state.step - steps.start))
                means = _descend(fabric, optimizers[name], losses, stage.optimizers[name])
                figures |= {f"{name}/{loss}": mean for loss, mean in means.items()}
            state.step += 1
            state.average.update_parameters(networks)
            last = state.step == recipe.steps
            log.losses(state.step, figures, clock.tick(), last=last)
            if state.step % recipe.validate_every == 0 or last:
                restored = _restored(trainable, validated, shown)
                state.score = float(psnr(restored.clamp(0, 1), shown["sharp"]).mean())
                log.validation(state.step, state.score, shown["blurry"], restored, shown["sharp"])
            known = {} if math.isnan(state.score) else {"psnr": state.score}
            with suppress(Cancelled):
                progress.advance(1, **figures, **known, per_second=clock.rate)
            cancelled = any_process(fabric, progress.cancelled)
            if cancelled or state.step == steps.stop or time.monotonic() - saved_at > _SAVE_EVERY:
                if fabric.is_global_zero:
                    _save(run, state, optimizers, log)
                saved_at = time.monotonic()
            if cancelled:
                log.close()
                raise Cancelled
    log.close()
    fabric.barrier()
    return state.score


def _stages_left(recipe: Recipe, done: int) -> Iterator[tuple[StagePlan, range]]:
    """The stages that are not finished after `done` steps, each with the range of its steps."""
    start = 0
    for stage in recipe.stages:
        steps = range(start, start + stage.steps)
        if done < steps.stop:
            yield stage, steps
        start = steps.stop


def _optimizers(stage: StagePlan, networks: nn.ModuleDict, fabric: Fabric) -> dict[str, Optimizer]:
    optimizers = {}
    for name, plan in stage.optimizers.items():
        weights = [weight for module in plan.trains for weight in networks[module].parameters()]
        optimizer = AdamW(weights, plan.rate, plan.betas, weight_decay=plan.weight_decay)
        optimizers[name] = fabric.setup_optimizers(optimizer)
    return optimizers


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _descend(
    fabric: Fabric, optimizer: Optimizer, losses: Mapping[str, Tensor], plan: OptimizerPlan
) -> dict[str, float]:
    """One step of an optimiser on the sum of its losses.

    Returns:
        The losses by name, averaged over the devices.

    Raises:
        UnblurError: when a loss or the gradient is not finite.
    """
    optimizer.zero_grad(set_to_none=True)
    each = torch.stack(list(losses.values()))
    fabric.backward(each.sum())
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    means = average_gradients(fabric, weights, each)
    norm = nn.utils.clip_grad_norm_(weights, math.inf if plan.clip is None else plan.clip)
    if not (means.isfinite().all() and norm.isfinite()):
        raise UnblurError(
            "the loss or its gradient is no longer a number. Start a new run from the weights of this one (--init) "
            "with a lower `rate` or a smaller `clip` in the recipe."
        )
    optimizer.step()
    return dict(zip(losses, means.tolist(), strict=True))


@torch.no_grad()
def _restored(trainable: Trainable, averages: Mapping[str, nn.Module], shown: Mapping[str, Tensor]) -> Tensor:
    """The validation samples, restored one by one with the average weights: `(N, C, H, W)`."""
    trained = dict(trainable.modules)
    trainable.modules.update(averages)
    try:
        count = len(shown["sharp"])
        parts = ({name: tensor[i : i + 1] for name, tensor in shown.items()} for i in range(count))
        return torch.cat([trainable.restore(part) for part in parts])
    finally:
        trainable.modules.update(trained)


class _Clock:
    """Measures samples per second as a running average."""

    def __init__(self, batch: int) -> None:
        self._batch, self._last, self.rate = batch, time.monotonic(), 0.0

    def tick(self) -> float:
        now = time.monotonic()
        rate = self._batch / max(now - self._last, 1e-9)
        self.rate = 0.95 * self.rate + 0.05 * rate if self.rate else rate
        self._last = now
        return self.rate


# --- checkpoints ----------------------------------------------------------------------------------


def _save(run: Run, state: _State, optimizers: Mapping[str, Optimizer], log: RunLog) -> None:
    """Write the checkpoint and, in a file of their own, the average weights."""
    average = state.average.module.state_dict()
    parts = {
        "weights": state.networks.state_dict(),
        "average": average,
        "optimizers": checkpoint.optimizer_tensors(optimizers),
    }
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    ships = run.recipe.ships or tuple(state.networks)
    shipped = {name: tensor for name, tensor in average.items() if name.partition(".")[0] in ships}
    done = {"step": state.step, "score": state.score}
    about = {"method": run.method, "preset": run.preset, "network": run.recipe.network, "steps": run.recipe.steps}
    # The weights first: a run that is killed between the two writes them again when it continues.
    checkpoint.save(run.folder / WEIGHTS, checkpoint.halved(shipped), {**about, **done})
    checkpoint.save(run.folder / CHECKPOINT, tensors, {**run.facts(), **done, "log": log.unwritten})


def _resume(run: Run, state: _State) -> None:
    """Load the last checkpoint into `state`."""
    path = run.folder / CHECKPOINT
    try:
        tensors, facts = read_tensors(path)
    except UnblurError as error:
        remedy = f"To start a new run from its weights: --init {path.with_name(WEIGHTS)} and another -o."
        raise UnblurError(f"{error} {remedy}") from None
    for key, value in run.facts().items():
        if facts.get(key) != value:
            was = difference(facts.get(key), value)
            raise UnblurError(
                f"{path} is of another run: not the same {key}{was}. Name another -o, or use the same {key}."
            )
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "average": {}, "optimizers": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    averages: Any = state.average.module
    checkpoint.put_weights(dict(state.networks), parts["weights"], str(path))
    checkpoint.put_weights(dict(averages), parts["average"], str(path))
    state.step, state.score, state.unwritten = int(facts["step"]), float(facts["score"]), facts["log"]
    state.average.n_averaged.fill_(state.step)
    ends = [steps.stop for _, steps in _stages_left(run.recipe, 0)]
    state.optimizers = {} if state.step in ends else parts["optimizers"]  # a new stage has new optimisers
