"""`a+b`: methods that work one after the other, each on what the ones before it found.

A psf that a step gives describes the blur of the picture that step was given. So the next step gets

- a step that needs a psf: the picture and the psf that describes its blur,
- any other step: the newest picture.

`l0_psf+nlm+hyper_laplacian` therefore denoises before deblurring, `l0_psf+hyper_laplacian+nlm` after, and
a blind method's own picture is passed over when a non-blind step follows (`selfdeblur+hyper_laplacian`).
A picture once deblurred has no psf any more: deblurring it again with the same one is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unblur import methods
from unblur.contract import Card, Input, Method, Output, Settings, nearest
from unblur.types import Observation, Progress, Restoration, UnblurError

DEFAULT_ESTIMATOR = "l0_psf"
DEFAULT_NON_BLIND = "hyper_laplacian"  # quick, with nothing learned: what a PSF estimator's name stands for
BEST_NON_BLIND = "wiener_stack"  # what "auto" ends with


@dataclass(frozen=True)
class Step:
    """A method and the settings it runs with."""

    method: Method
    settings: Settings


@dataclass(frozen=True)
class Chain:
    """Methods in the order they run. Make one with `Chain.parse`.

    Attributes:
        steps: at least one.
    """

    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, name: str, settings: Mapping[str, Any] | None = None) -> Chain:
        """The chain called `a+b`, its settings checked.

        Args:
            name: names of methods, or Python files outside the package, joined by `+`.
            settings: `key` for the one step that has it, or `method.key`. A method that occurs twice
                gets the same settings twice.

        Raises:
            UnblurError: no such method or setting (naming the nearest), a setting that several steps
                have, a value out of range, or a chain that would deblur twice.
        """
        parts = _methods(name)
        _wanted([method.card for method in parts])  # refuses to deblur twice
        values = _settings_by_method(parts, settings or {})
        return cls(tuple(Step(method, method.configure(values[method.card.name])) for method in parts))

    @property
    def name(self) -> str:
        """`a+b`, from the cards of the methods."""
        return "+".join(step.method.card.name for step in self.steps)

    @property
    def needs(self) -> frozenset[Input]:
        """The fields of `Observation` that must come from outside."""
        return frozenset(_wanted(self._cards))

    @property
    def gives(self) -> frozenset[Output]:
        """The fields of `Restoration` that are filled."""
        return frozenset(gift for card in self._cards for gift in card.gives)

    @property
    def _cards(self) -> list[Card]:
        return [step.method.card for step in self.steps]

    def __call__(self, observation: Observation, progress: Progress | None = None) -> Restoration:
        """Run the steps.

        Returns:
            The last picture and the last psf. `notes` are those of all steps. In a chain of several,
            `stages` holds each step's own as `method.stage`, and the picture of each step but the last as
            `method`.

        Raises:
            UnblurError: when something the chain needs is missing; the message says how to give it.
        """
        self._check(observation)
        total = Restoration()
        changed = []
        deblurred: Tensor | None = None  # the newest picture, where it is not `observation.blurry`
        for step in self.steps:
            card = step.method.card
            if deblurred is not None and "psf" not in card.needs:
                observation = replace(observation, blurry=deblurred, psf=None, sigma=None)
                deblurred = None
            result = step.method(observation, step.settings, progress)
            total = _joined(total, result, self._stages(step, result))
            if "psf" in card.gives:
                observation = replace(observation, psf=result.psf, psf_estimated=True)
            if "image" in card.gives:
                changed.append(result.changed)
                if _deblurs(card):
                    deblurred = result.image
                else:  # still as blurred as before, but its noise is another
                    observation = replace(observation, blurry=result.image, sigma=None)
        return replace(total, changed=any(changed) if changed else total.changed)

    def _stages(self, step: Step, result: Restoration) -> dict[str, Tensor]:
        """What one step leaves to look at, named so that no two steps clash."""
        if len(self.steps) == 1:
            return result.stages
        name = step.method.card.name
        stages = {f"{name}.{stage}": picture for stage, picture in result.stages.items()}
        if result.image is not None and step is not self.steps[-1]:
            stages[name] = result.image
        return stages

    def _check(self, observation: Observation) -> None:
        for need, step in sorted(_wanted(self._cards).items()):
            if getattr(observation, need) is None:
                raise UnblurError(_unmet(need, step, self.name))


def complete(name: str, *, psf_known: bool) -> str:
    """The chain that gives a picture: a PSF estimator by itself is followed by the default non-blind step.

    Args:
        name: what the person typed.
        psf_known: whether a true PSF is at hand for the methods that need one.

    Raises:
        UnblurError: no such method, or one that needs a psf when none is known.
    """
    chain = Chain.parse(name)
    needs = _wanted(chain._cards)
    if "psf" in needs and not psf_known:
        raise UnblurError(_unmet("psf", needs["psf"], chain.name))
    return name if "image" in chain.gives else f"{name}+{DEFAULT_NON_BLIND}"


def setting_keys(name: str) -> set[str]:
    """Every `key` and `method.key` that `Chain.parse(name)` may be given, ambiguous ones included."""
    keys = {method.card.name: _keys(method) for method in _methods(name)}
    return {key for own in keys.values() for key in own} | {
        f"{method}.{key}" for method, own in keys.items() for key in own
    }


def _methods(name: str) -> list[Method]:
    """The methods of a chain; a Python file may have a + in its path only when it stands alone."""
    parts = [name] if name.endswith(".py") and Path(name).is_file() else name.split("+")
    if not all(part.strip() for part in parts):
        raise UnblurError(f"'{name}' is no chain: write methods joined by +, like {_example()}.")
    return [methods.get(part.strip()) for part in parts]


def _deblurs(card: Card) -> bool:
    """Whether the picture it gives is no longer described by the psf at hand."""
    return "image" in card.gives and ("psf" in card.needs or "psf" in card.gives)


def _wanted(cards: Sequence[Card]) -> dict[Input, str]:
    """What must come from outside, and the first step that needs it."""
    wanted: dict[Input, str] = {}
    found: set[Input] = set()
    deblurred_by = ""
    psf_is_spent = False
    for card in cards:
        if deblurred_by and "psf" not in card.needs:
            psf_is_spent = True
        if psf_is_spent and "psf" in card.needs:
            raise UnblurError(
                f"'{card.name}' cannot deblur what '{deblurred_by}' has deblurred already. "
                f"Leave one out, or chain an estimator between them: {DEFAULT_ESTIMATOR}+{card.name}."
            )
        for need in card.needs - found:
            wanted.setdefault(need, card.name)
        if "image" in card.gives:
            found.add("blurry")
        if _deblurs(card):
            deblurred_by, psf_is_spent = card.name, True
        if "psf" in card.gives:
            found.add("psf")
            psf_is_spent = False
    return wanted


def _unmet(need: Input, step: str, chain: str) -> str:
    if need == "psf":
        names = chain.split("+")
        names.insert(names.index(step), DEFAULT_ESTIMATOR)
        return f"'{step}' needs a psf: give --psf FILE or chain an estimator: --method {'+'.join(names)}"
    if need == "noisy":
        return f"'{step}' needs the short, noisy shot of the pair as well, and none was given."
    missing = "several frames of one scene" if need == "frames" else "a blurry picture"
    return f"'{step}' needs {missing}; none was given."


def _joined(total: Restoration, result: Restoration, stages: Mapping[str, Tensor]) -> Restoration:
    """`total` with what one more step gave."""
    return Restoration(
        image=total.image if result.image is None else result.image,
        psf=total.psf if result.psf is None else result.psf,
        stages={**total.stages, **stages},
        changed=result.changed,
        notes=[*total.notes, *result.notes],
    )


def _settings_by_method(parts: Sequence[Method], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each method's own settings, by its name."""
    keys = {method.card.name: _keys(method) for method in parts}
    values: dict[str, dict[str, Any]] = {name: {} for name in keys}
    for given, value in settings.items():
        name, key = _owner(given, keys)
        if key in values[name]:
            raise UnblurError(f"setting '{key}' of '{name}' is given twice, as {key} and as {name}.{key}.")
        values[name][key] = value
    return values


def _owner(given: str, keys: Mapping[str, Collection[str]]) -> tuple[str, str]:
    """The method a setting is for, and its key there."""
    name, dot, key = given.rpartition(".")
    if dot:
        if name not in keys:
            raise UnblurError(f"setting '{given}': no step is called '{name}'.{nearest(name, keys)}")
        if key not in keys[name]:
            raise UnblurError(f"'{name}' has no setting '{key}'.{nearest(key, keys[name])}")
        return name, key
    owners = [name for name, own in keys.items() if given in own]
    if not owners:
        everything = {key for own in keys.values() for key in own}
        raise UnblurError(f"'{'+'.join(keys)}' has no setting '{given}'.{nearest(given, everything)}")
    if len(owners) > 1:
        which = " and ".join(f"'{name}'" for name in owners)
        written = " or ".join(f"{name}.{given}" for name in owners)
        raise UnblurError(f"setting '{given}': {which} have one each. Write {written}.")
    return owners[0], given


def _keys(method: Method) -> set[str]:
    """The method's settings, and `preset` where it has presets."""
    return set(method.settings.model_fields) | ({"preset"} if method.card.presets else set())


def _example() -> str:
    return f"{DEFAULT_ESTIMATOR}+{DEFAULT_NON_BLIND}"
