"""A training run: what is to be done, and the folder that it is done in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import unblur.methods
from unblur.contract import Trainable, nearest
from unblur.training.log import LOG, is_begun
from unblur.training.recipe import Recipe
from unblur.training.sources import Source
from unblur.types import UnblurError

CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"


@dataclass(frozen=True)
class Run:
    """What is to be done, and where.

    Attributes:
        method: the name on the method's card.
        preset: name of the preset.
        recipe: what to do.
        source: what to make samples of.
        make: gives a trainable for making samples; it can be pickled.
        folder: for checkpoint, weights, log and pictures.
        workers: processes that make samples; 0: the loop does.
    """

    method: str
    preset: str
    recipe: Recipe
    source: Source
    make: Callable[[], Trainable]
    folder: Path
    workers: int = 0

    def facts(self) -> dict[str, object]:
        """What a checkpoint must agree in to go on from."""
        recipe = self.recipe.model_dump(mode="json")
        return {"method": self.method, "preset": self.preset, "recipe": recipe, "samples": self.source.digest()}


def maker(method: str, recipe: Recipe) -> Callable[[], Trainable]:
    """What gives trainables of a method by name or file, in any process."""
    return partial(_make, method, recipe.network, recipe.observations)


def _make(method: str, network: Mapping[str, Any], observations: Mapping[str, Any]) -> Trainable:
    trainable = unblur.methods.get(method).trainable
    assert trainable is not None, "read_recipe has seen to it"
    return trainable(network, observations)


def check_folder(folder: Path, *, resume: bool) -> None:
    """Refuse to overwrite a run, and to resume none.

    Raises:
        UnblurError: with the remedy.
    """
    begun = (folder / CHECKPOINT).exists()
    if begun and not resume:
        raise UnblurError(f"{folder} holds a run already. Add --resume to go on with it, or take another -o.")
    if resume and not begun:
        raise UnblurError(f"{folder} holds no checkpoint to resume from. Leave --resume out to begin.")
    if not resume and ((folder / WEIGHTS).exists() or is_begun(folder)):
        kept = WEIGHTS if (folder / WEIGHTS).exists() else LOG
        raise UnblurError(f"{folder / kept} is there already and would be overwritten. Take another -o.")


def check_recipe(recipe: Recipe, trainable: Trainable) -> None:
    """Refuse a recipe that asks for what there is not, before hours have gone into an earlier stage.

    Raises:
        UnblurError: naming the nearest that there is.
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
