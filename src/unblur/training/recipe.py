"""Recipes of training runs, read from `methods/<name>/recipe.toml`: one table per preset."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from unblur.contract import checked, nearest
from unblur.training.schedules import Constant, Cosine, Power, Schedule, Steps, Table
from unblur.training.subjects import subject
from unblur.types import UnblurError

_TABLES = {"constant": Constant, "cosine": Cosine, "steps": Steps, "power": Power}


class OptimizerPlan(Table):
    """The settings of one AdamW optimiser.

    Attributes:
        trains: names of the modules that it trains.
        rate: the highest learning rate.
        schedule: how the learning rate falls after the warm-up.
        clip: the largest Euclidean norm of the gradient of all its weights together; None: no limit.
        betas: decay of the mean gradient and of the mean squared gradient.
        weight_decay: share of the weights (times the rate) that is subtracted at each step.
    """

    trains: Annotated[tuple[str, ...], Field(min_length=1)]
    rate: Annotated[float, Field(gt=0)]
    schedule: Schedule = Cosine()
    clip: Annotated[float, Field(gt=0)] | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0


class StagePlan(Table):
    """A stage of a run, with its own optimisers.

    Attributes:
        name: name of the stage; the method chooses its losses by it.
        steps: number of steps, one batch each.
        warmup: number of steps over which all learning rates rise from 0.
        optimizers: by the names that the method's losses use.
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
        """The learning rate of an optimiser at a step of this stage, counted from 0."""
        plan = self.optimizers[optimizer]
        if step < self.warmup:
            return plan.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return plan.rate * plan.schedule.share(done)


class Recipe(Table):
    """The recipe of a training run.

    Attributes:
        batch: number of samples per step, over all devices.
        seed: seed of the initial weights and the samples.
        precision: precision of the networks' arithmetic; the weights are always float32.
        average: decay of the running average of the weights. This average is validated and written.
        ships: the modules that `weights.safetensors` holds; a method restores with these. None: all.
        validation: number of samples in a validation.
        validate_every: number of steps between two validations.
        stages: the stages, in their order.
        network: settings of the networks, defined by the method.
        observations: settings for making samples, defined by the method.
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
        """The number of steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def with_steps(self, steps: int) -> Recipe:
        """The recipe with about `steps` steps in total: every stage is scaled in proportion.

        Warm-ups are shortened with their stages, and not lengthened.
        """
        share = steps / self.steps
        stages = [
            stage.model_copy(
                update={"steps": max(round(stage.steps * share), 1), "warmup": round(stage.warmup * min(share, 1))}
            )
            for stage in self.stages
        ]
        return self.model_copy(update={"stages": tuple(stages)})


def read_recipe(method: str, preset: str, path: Path | None = None) -> Recipe:
    """The recipe of a method, from the method's folder or from `path`.

    Raises:
        UnblurError: when the method has no network, or the recipe or the preset does not exist or is not valid.
    """
    path = path or subject(method).trained.folder / "recipe.toml"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UnblurError(f"{path}: cannot be read as a recipe ({reason}). Name a recipe with --recipe.") from None
    return parse_recipe(text, preset, path.name)


def parse_recipe(text: str, preset: str, source: str) -> Recipe:
    """The recipe `preset` of a TOML text; error messages name `source`.

    Raises:
        UnblurError: when the text is not valid; for an unknown key, the message suggests the nearest valid one.
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
    """The first difference of two nested tables, for a message: ` (batch was 8, is 4)`; empty if there is none."""
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
