"""What a training run does, as written in `methods/<name>/recipe.toml`: one table per preset."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

import unblur.methods
from unblur.contract import checked, nearest
from unblur.training.schedules import Constant, Cosine, Power, Schedule, Steps, Table
from unblur.types import UnblurError

_TABLES = {"constant": Constant, "cosine": Cosine, "steps": Steps, "power": Power}


class OptimizerPlan(Table):
    """One AdamW: which modules it trains, and how.

    Attributes:
        trains: names of modules.
        rate: learning rate at its highest.
        schedule: how the rate falls after the warm-up.
        clip: the greatest Euclidean norm of the gradient of all its weights together; None: any.
        betas: decay of the mean gradient and of the mean squared gradient.
        weight_decay: share of the weights (times the rate) taken away at each step.
    """

    trains: Annotated[tuple[str, ...], Field(min_length=1)]
    rate: Annotated[float, Field(gt=0)]
    schedule: Schedule = Cosine()
    clip: Annotated[float, Field(gt=0)] | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class StagePlan(Table):
    """A part of a run, with optimisers of its own.

    Attributes:
        name: tells the method which losses to give.
        steps: how many batches.
        warmup: steps over which all rates rise from 0.
        optimizers: by the names that the losses use.
    """

    name: str
    steps: Annotated[int, Field(ge=1)]
    warmup: Annotated[int, Field(ge=0)] = 0
    optimizers: dict[str, OptimizerPlan]

    @model_validator(mode="after")
    def _warm_in_time(self) -> StagePlan:
        if self.warmup > self.steps:
            raise ValueError(f"stage '{self.name}' warms up for {self.warmup} of {self.steps} steps")
        return self

    def rate_at(self, optimizer: str, step: int) -> float:
        """An optimiser's learning rate at a step of this stage, from 0: a linear rise, then its schedule."""
        plan = self.optimizers[optimizer]
        if step < self.warmup:
            return plan.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return plan.rate * plan.schedule.share(done)


class Recipe(Table):
    """A training run.

    Attributes:
        batch: samples per step, over all devices.
        seed: of weights and samples.
        precision: of the networks' arithmetic; weights stay float32.
        average: decay of the running average of the weights, which is what is validated and kept.
        ships: the modules whose weights a method restores with, and which `weights.safetensors` holds; None: all.
        validation: how many observations are restored in a validation.
        validate_every: steps from one validation to the next.
        stages: one after the other.
        network: for the method: its network.
        observations: for the method: how samples are made.
    """

    batch: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Literal["32", "bf16"] = "bf16"
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999
    ships: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    validation: Annotated[int, Field(ge=1)] = 16
    validate_every: Annotated[int, Field(ge=1)] = 1000
    stages: Annotated[tuple[StagePlan, ...], Field(min_length=1)]
    network: dict[str, Any] = Field(default_factory=dict)
    observations: dict[str, Any] = Field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> Recipe:
        """The same in about `steps` steps: every stage, and its warm-up, in proportion."""
        share = steps / self.steps
        stages = [
            stage.model_copy(
                update={"steps": max(round(stage.steps * share), 1), "warmup": round(stage.warmup * min(share, 1))}
            )
            for stage in self.stages
        ]
        return self.model_copy(update={"stages": tuple(stages)})


def read_recipe(method: str, preset: str, path: Path | None = None) -> Recipe:
    """A method's recipe, from the method's folder or from `path`.

    Raises:
        UnblurError: when the method learns nothing, the preset is not there, or the recipe is not there or wrong.
    """
    chosen = unblur.methods.get(method)
    if chosen.trainable is None or chosen.trained is None:
        raise UnblurError(f"'{method}' has no network to train. {_trainable_methods()}")
    path = path or chosen.trained.folder / "recipe.toml"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UnblurError(f"{path}: cannot be read as a recipe ({reason}). --recipe names one.") from None
    return parse_recipe(text, preset, path.name)


def parse_recipe(text: str, preset: str, source: str) -> Recipe:
    """The recipe for `preset` in a TOML text that came from `source`.

    Raises:
        UnblurError: naming what is wrong, and the nearest key that there is.
    """
    try:
        presets = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UnblurError(f"{source}: not TOML: {error}.") from None
    if preset not in presets:
        raise UnblurError(f"{source} has no preset '{preset}'.{nearest(preset, presets)}")
    tables = {"stages": StagePlan, "optimizers": OptimizerPlan, **_TABLES}
    return checked(Recipe, presets[preset], f"{source}, [{preset}]", tables)


def difference(was: object, now: object) -> str:
    """Where two nested tables first differ, to be said: ` (batch was 8, is 4)`."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        was, now = ({str(number): value for number, value in enumerate(values, 1)} for values in (was, now))
    if not isinstance(was, dict) or not isinstance(now, dict):
        return ""
    for key in (*now, *was):
        old, new = was.get(key), now.get(key)
        if old != new:
            deeper = difference(old, new)
            return f" ({key}: {deeper[2:-1]})" if deeper else f" ({key} was {old}, is {new})"
    return ""


def _trainable_methods() -> str:
    names = [name for name in unblur.methods.names() if unblur.methods.get(name).trainable is not None]
    return f"There is: {', '.join(names)}."
