"""A training run and its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unblur.contract import Trainable, nearest
from unblur.training.log import LOG, is_begun
from unblur.training.recipe import Recipe
from unblur.training.sources import Source
from unblur.training.subjects import subject
from unblur.types import UnblurError

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        method: the name on the method's card.
        preset: name of the preset.
        recipe: the recipe.
        source: what samples are made from.
        make: returns a trainable for making samples; it can be pickled.
        folder: folder of checkpoint, weights, log and pictures.
        workers: number of processes that make samples; 0: the main process makes them.
    """

    method: str
    preset: str
    recipe: Recipe
    source: Source
    make: Callable[[], Trainable]
    folder: Path
    workers: int = 0

    def facts(self) -> dict[str, object]:
        """What must be the same in a checkpoint to resume from it."""
        recipe = self.recipe.model_dump(mode="json")
        return {"method": self.method, "preset": self.preset, "recipe": recipe, "samples": self.source.digest()}


def maker(method: str, recipe: Recipe) -> Callable[[], Trainable]:
    """A function that returns a trainable of a method, given by name or file. It can be pickled."""
    return partial(_make, method, recipe.network, recipe.observations)


def _make(method: str, network: Mapping[str, Any], observations: Mapping[str, Any]) -> Trainable:
    return subject(method).trainable(network, observations)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Check that a new run overwrites nothing, or that a run can be resumed.

    Raises:
        UnblurError: otherwise; the message names the remedy.
    """
    begun = (folder / CHECKPOINT).exists()
    if begun and not resume:
        raise UnblurError(f"{folder} holds a run already. Add --resume to continue it, or name another folder with -o.")
    if resume and not begun:
        raise UnblurError(f"{folder} holds no checkpoint to resume from. Leave --resume out to start a new run.")
    if not resume and ((folder / WEIGHTS).exists() or is_begun(folder)):
        kept = WEIGHTS if (folder / WEIGHTS).exists() else LOG
        raise UnblurError(f"{folder / kept} is there already and would be overwritten. Name another folder with -o.")


def check_recipe(recipe: Recipe, trainable: Trainable) -> None:
    """Check that a recipe fits the method, in all stages, before the first one starts.

    Raises:
        UnblurError: when a module, stage or optimiser is unknown or missing; the message suggests the nearest name.
    """
    modules = trainable.modules
    for name in recipe.ships or ():
        if name not in modules:
            raise UnblurError(f"`ships` names '{name}', which is no module.{nearest(name, modules)}")
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
