"""`a+b`: methods that work one after the other, each on what the ones before it found.

A PSF that a step gives describes the blur of the picture that this step was given. So the next step gets

- a step that needs a PSF (or takes one, and undoes blur): that PSF, and the picture whose blur it describes;
- any other step: the newest picture.

`l0_psf+nlm+hyper_laplacian` therefore denoises before deblurring, `l0_psf+hyper_laplacian+nlm` after it. A non-blind
step after a blind method gets the blurry picture and the PSF, not the blind method's picture
(`selfdeblur+hyper_laplacian`). A picture that has been deblurred has no PSF any more: to deblur it again is refused.

`_plan` works out from the cards alone which picture and which PSF each step gets. It refuses chains that would deblur
twice, it says what must be given, and the chain runs by it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, get_args

from torch import Tensor

from unblur import methods
from unblur.contract import Card, Defect, Input, Method, Output, Settings, nearest
from unblur.pipeline.auto import ESTIMATOR, QUICK_NON_BLIND
from unblur.types import Observation, Progress, Restoration, UnblurError


@dataclass(frozen=True)
class Step:
    """A method and the settings it runs with."""

    method: Method
    settings: Settings


def _step(method: Method, values: Mapping[str, Any]) -> Step:
    """A step with the card that the method has under these settings."""
    settings = method.configure(values)
    return Step(replace(method, card=method.card.under(settings)), settings)


@dataclass(frozen=True)
class Chain:
    """Methods in the order they run. Make one with `Chain.parse`.

    Attributes:
        steps: at least one.

    Raises:
        UnblurError: a chain that would deblur twice.
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Refuse a chain that makes no sense."""
        _plan(self._cards)

    @classmethod
    def parse(cls, name: str, settings: Mapping[str, Any] | None = None, *, allow_files: bool = True) -> Chain:
        """The chain called `a+b`, its settings checked.

        Args:
            name: names of methods, or Python files outside the package, joined by `+`.
            settings: `key` for the one step that has it, or `method.key`. A method that occurs twice
                gets the same settings twice.
            allow_files: whether a method may be a Python file, and a setting name a file.

        Raises:
            UnblurError: no such method or setting (naming the nearest), a setting that several steps
                have, a value out of range, a chain that would deblur twice, or a file that is not allowed.
        """
        parts = _methods(name, allow_files)
        values = _settings_by_method(parts, settings or {})
        if not allow_files:
            _refuse_files(parts, values)
        return cls(tuple(_step(method, values[method.card.name]) for method in parts))

    @property
    def name(self) -> str:
        """`a+b`, from the cards of the methods."""
        return "+".join(card.name for card in self._cards)

    @property
    def needs(self) -> frozenset[Input]:
        """The fields of `Observation` that must be given."""
        return frozenset(_first_to_need(self._cards))

    @property
    def takes(self) -> frozenset[Input]:
        """Further fields of `Observation` that some step uses if they are given."""
        wanted: set[Input] = set()
        for card, sources in zip(self._cards, _plan(self._cards), strict=True):
            wanted |= sources.outside(card.takes)
        return frozenset(wanted - self.needs)

    @property
    def gives(self) -> frozenset[Output]:
        """The fields of `Restoration` that are filled."""
        return frozenset(output for card in self._cards for output in card.gives)

    @property
    def undoes(self) -> frozenset[Defect]:
        """What the last picture no longer has."""
        return frozenset(defect for card in self._cards for defect in card.undoes)

    @property
    def _cards(self) -> list[Card]:
        return [step.method.card for step in self.steps]

    def __call__(self, observation: Observation, progress: Progress | None = None) -> Restoration:
        """Run the steps. Each gets of `observation` what its card needs or takes, and sigma.

        Returns:
            The last picture and the last PSF. `notes` are those of all steps. In a chain of several,
            `stages` holds each step's own as `method.stage`, and the picture of each step but the last as
            `method`; of a method that occurs twice, those of the last time.

        Raises:
            UnblurError: when something the chain needs is missing; the message says how to give it.
        """
        self.check(observation.given())
        results: list[Restoration] = []
        for step, sources in zip(self.steps, _plan(self._cards), strict=True):
            results.append(
                step.method(_for_step(step.method.card, sources, observation, results), step.settings, progress)
            )
        return self._joined(results)

    def check(self, given: Collection[str]) -> None:
        """See that everything the chain needs is there.

        Args:
            given: the fields of `Observation` that are there, as `Observation.given()` says.

        Raises:
            UnblurError: when something is missing; the message says how to give it.
        """
        for need, step in sorted(_first_to_need(self._cards).items()):
            if need not in given:
                raise UnblurError(_unmet(need, step, self.name))

    def _joined(self, results: Sequence[Restoration]) -> Restoration:
        """What all steps gave, as one restoration."""
        pairs = list(zip(self._cards, results, strict=True))
        if len(pairs) == 1:
            return results[0]
        stages: dict[str, Tensor] = {}
        for card, result in pairs:
            stages |= {f"{card.name}.{stage}": picture for stage, picture in result.stages.items()}
            if result.image is not None and result is not results[-1]:
                stages[card.name] = result.image
        restored = [result for card, result in pairs if "image" in card.gives]
        return Restoration(
            image=next((result.image for result in reversed(results) if result.image is not None), None),
            psf=next((result.psf for result in reversed(results) if result.psf is not None), None),
            stages=stages,
            changed=any(result.changed for result in restored) if restored else results[-1].changed,
            notes=[note for result in results for note in result.notes],
        )


# --- what each step gets --------------------------------------------------------------------------

_GIVEN = -1  # in place of a step's number: what was given from outside


@dataclass(frozen=True)
class _Sources:
    """Where a step's inputs come from: the number of an earlier step, or `_GIVEN`.

    Attributes:
        blurry: where its picture comes from.
        psf: where its PSF comes from; None: no PSF describes that picture.
    """

    blurry: int
    psf: int | None

    def outside(self, wanted: Collection[Input]) -> set[Input]:
        """Those of the wanted inputs that come from outside. What no step gives always does."""
        made = {"blurry": self.blurry != _GIVEN, "psf": self.psf != _GIVEN}
        return {name for name in wanted if not made.get(name, False)}


@dataclass(frozen=True)
class _State:
    """What is known between two steps. Pictures and PSFs are named by the step that gave them, or `_GIVEN`.

    Attributes:
        newest: the newest picture.
        psf: the newest PSF; None when the picture that it describes has been deblurred.
        blurred: the picture whose blur `psf` describes.
        defects: what each picture may still have.
        deblurred_by: the method that last undid blur, or "".
    """

    newest: int
    psf: int | None
    blurred: int
    defects: Mapping[int, frozenset[Defect]]
    deblurred_by: str = ""

    def sources(self, card: Card) -> _Sources:
        """What a step with this card is given.

        Raises:
            UnblurError: it would deblur what has been deblurred.
        """
        works_with_psf = "psf" in card.needs or ("psf" in card.takes and "blur" in card.undoes)
        if works_with_psf and self.psf is not None:
            return _Sources(self.blurred, self.psf)
        if "psf" in card.needs:
            raise UnblurError(
                f"{_twice(card, self.deblurred_by)}, or chain an estimator between them: {ESTIMATOR}+{card.name}."
            )
        if "blur" in card.undoes and "blur" not in self.defects[self.newest]:
            raise UnblurError(f"{_twice(card, self.deblurred_by)}.")
        return _Sources(self.newest, self.psf if self.blurred == self.newest else None)

    def after(self, card: Card, step: int, sources: _Sources) -> _State:
        """The state when step number `step`, with this card, has run on these sources."""
        newest, psf, blurred, deblurred_by = self.newest, sources.psf, sources.blurry, self.deblurred_by
        defects = dict(self.defects)
        if "image" in card.gives:
            newest = step
            defects[step] = defects[sources.blurry] - card.undoes
            if "blur" in card.undoes:
                psf, deblurred_by = None, card.name
            else:
                blurred = step  # as blurred as the picture that the step was given
        if "psf" in card.gives:
            psf = step
        return _State(newest, psf, blurred, defects, deblurred_by)


def _plan(cards: Sequence[Card]) -> list[_Sources]:
    """What each step is given.

    Raises:
        UnblurError: a chain that would deblur twice.
    """
    state = _State(_GIVEN, _GIVEN, _GIVEN, {_GIVEN: frozenset({"blur", "noise"})})
    plan = []
    for step, card in enumerate(cards):
        sources = state.sources(card)
        state = state.after(card, step, sources)
        plan.append(sources)
    return plan


def _for_step(card: Card, sources: _Sources, observation: Observation, results: Sequence[Restoration]) -> Observation:
    """Of what was given and what earlier steps gave, what a step with this card needs or takes, and sigma."""
    if sources.blurry != _GIVEN:  # its noise is no longer that of the photo
        observation = replace(observation, blurry=results[sources.blurry].image, sigma=None)
    if sources.psf is None:
        observation = replace(observation, psf=None)
    elif sources.psf != _GIVEN:
        observation = replace(observation, psf=results[sources.psf].psf, psf_estimated=True)
    unused: dict[str, Any] = dict.fromkeys(observation.given() - card.needs - card.takes)
    return replace(observation, **unused)


def _first_to_need(cards: Sequence[Card]) -> dict[Input, str]:
    """What must be given from outside, each with the first step that needs it."""
    first: dict[Input, str] = {}
    for card, sources in zip(cards, _plan(cards), strict=True):
        for need in sources.outside(card.needs):
            first.setdefault(need, card.name)
    return first


def _twice(card: Card, before: str) -> str:
    return f"'{card.name}' cannot deblur what '{before}' has deblurred already. Leave one out"


def _unmet(need: Input, step: str, chain: str) -> str:
    if need == "psf":
        names = chain.split("+")
        names.insert(names.index(step), ESTIMATOR)
        return f"'{step}' needs a psf: give --psf FILE or chain an estimator: --method {'+'.join(names)}"
    if need == "noisy":
        return f"'{step}' needs the short, noisy shot of the pair as well: give --noisy FILE."
    if need == "exposure_ratio":
        return f"'{step}' needs the long exposure divided by the short one: give --exposure-ratio NUMBER."
    missing = "several frames of one scene" if need == "frames" else "a blurry picture"
    return f"'{step}' needs {missing}; none was given."


# --- names and settings ---------------------------------------------------------------------------


def complete(name: str, *, psf_known: bool, settings: Mapping[str, Any] | None = None, allow_files: bool = True) -> str:
    """The chain that gives a picture: a PSF estimator by itself is followed by a quick non-blind method.

    Args:
        name: what the person typed.
        psf_known: whether a true PSF is there for the methods that need one.
        settings: as for `Chain.parse`; those of other methods are left out.
        allow_files: as for `Chain.parse`.

    Raises:
        UnblurError: no such method, or one that needs a psf when none is known.
    """
    keys = setting_keys(name, allow_files)
    own = {key: value for key, value in (settings or {}).items() if key in keys}
    chain = Chain.parse(name, own, allow_files=allow_files)
    chain.check(chain.needs - (set() if psf_known else {"psf"}))
    return name if "image" in chain.gives else f"{name}+{QUICK_NON_BLIND}"


def setting_keys(name: str, allow_files: bool = True) -> set[str]:
    """Every `key` and `method.key` that `Chain.parse(name)` may be given, ambiguous ones included."""
    keys = {method.card.name: _keys(method) for method in _methods(name, allow_files)}
    return {key for own in keys.values() for key in own} | {
        f"{method}.{key}" for method, own in keys.items() for key in own
    }


def _methods(name: str, allow_files: bool = True) -> list[Method]:
    """The methods of a chain; a Python file may have a + in its path only when it stands alone."""
    alone = allow_files and name.endswith(".py") and Path(name).is_file()
    parts = [part.strip() for part in ([name] if alone else name.split("+"))]
    if not all(parts):
        raise UnblurError(f"'{name}' is no chain: write methods joined by +, like {ESTIMATOR}+{QUICK_NON_BLIND}.")
    return [methods.get(part) if allow_files else methods.get_by_name(part) for part in parts]


def _refuse_files(parts: Sequence[Method], values: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse settings that name a file, wherever their values come from."""
    for method in parts:
        for key, value in values[method.card.name].items():
            if key != "preset" and value is not None and names_a_file(method.settings.model_fields[key].annotation):
                raise UnblurError(f"setting '{key}' of '{method.card.name}' names a file, which is not allowed here.")


def names_a_file(annotation: Any) -> bool:
    """Whether a setting of this type is a path, or may be one."""
    inside = get_args(annotation)
    return any(map(names_a_file, inside)) or (isinstance(annotation, type) and issubclass(annotation, PurePath))


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
