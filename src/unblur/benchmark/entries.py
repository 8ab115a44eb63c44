"""The methods of a run: each is a chain that gives a picture, with the reference for its error ratios.

A step of a chain may have settings of its own in brackets, `nidf[output=denoised]+l0_psf`, so that one run can compare
a method with itself. `noisy:nlm` restores the short, noisy shot of a pair instead of the blurry one, so that methods
for pairs can be compared with methods for one picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unblur.contract import Settings, nearest
from unblur.pipeline.auto import QUICK_NON_BLIND
from unblur.pipeline.chain import Chain, Step, setting_keys
from unblur.pipeline.channels import on_any_shape
from unblur.types import UnblurError

Photo = Literal["blurry", "noisy"]
"""The picture of a sample that a chain restores."""

NOISY = "noisy:"
"""Before a chain: it is given the short, noisy shot of a pair as its photo."""

Identity = tuple[tuple[str, Settings], ...]
"""The methods and settings of a chain."""

UNRESTORED = ("input", "noise-free")
"""The names of the rows of pictures that no method restored, see `unblur.benchmark.scoring`."""

_STEP = re.compile(r"([^\[\]]+)(\[[^\[\]]*\])?")
_OUTSIDE_BRACKETS = r"(?![^\[]*\])"


@dataclass(frozen=True)
class Entry:
    """One method of the table.

    Attributes:
        label: the name that the user gave; it stands in the rows, and is the name of the folder of pictures.
        chain: the chain that is run.
        reference: the non-blind chain that gets the true PSF; its error is the denominator of the error ratios.
        photo: the picture that the chain restores.
    """

    label: str
    chain: Chain
    reference: Chain
    photo: Photo = "blurry"


@dataclass(frozen=True)
class _Typed:
    """What the user typed for one entry.

    Attributes:
        name: the chain without brackets.
        own: the settings in brackets, by `method.key`.
        label: the names of the methods, each with its brackets; begins with "noisy:" if it was typed so.
        photo: the picture that the chain restores.
    """

    name: str
    own: Mapping[str, str]
    label: str
    photo: Photo = "blurry"


def split_names(text: str) -> list[str]:
    """The entries in a list separated by commas; commas in brackets separate settings."""
    return [name.strip() for name in re.split("," + _OUTSIDE_BRACKETS, text) if name.strip()]


def make_entries(names: Sequence[str], settings: Mapping[str, Any]) -> list[Entry]:
    """The methods called `names`; each gets those settings that it has. Those in brackets replace the same ones here.

    Raises:
        UnblurError: when there is no such method or setting, or two methods have the same label.
    """
    found = [_typed(name) for name in dict.fromkeys(names)]  # this also imports the methods
    completed = [_with_picture(typed, settings) for typed in found]
    everything = set().union(*map(setting_keys, completed))
    for key in settings:
        if key not in everything:
            raise UnblurError(f"none of {', '.join(names)} has a setting '{key}'.{nearest(key, everything)}")
    entries = []
    for typed, full_name in zip(found, completed, strict=True):
        chain = _on_any_shape(Chain.parse(full_name, _settings_of(typed, full_name, settings)))
        entries.append(Entry(typed.label, chain, _reference(chain), typed.photo))
    labels = [entry.label for entry in entries]
    for label in labels:
        if label in UNRESTORED:
            raise UnblurError(f"'{label}' is the name of the pictures that no method restored. Rename the file.")
        if labels.count(label) > 1:
            raise UnblurError(f"two methods of this run are called '{label}'. Rename one of the files.")
    return entries


def _typed(name: str) -> _Typed:
    """Separate the settings in brackets from the chain.

    Raises:
        UnblurError: when there is no such method, or brackets that are not `METHOD[KEY=VALUE,...]`.
    """
    if name.startswith(NOISY):
        typed = _typed(name.removeprefix(NOISY).strip())
        return replace(typed, label=NOISY + typed.label, photo="noisy")
    if Path(name).is_file():  # its path may hold + and brackets
        return _Typed(name, {}, Chain.parse(name).name)
    parts, own, labels = [], {}, []
    for part in re.split(r"\+" + _OUTSIDE_BRACKETS, name):
        found = _STEP.fullmatch(part.strip())
        if found is None:
            raise UnblurError(f"'{part}' in '{name}' is no method: write METHOD[KEY=VALUE,...], or METHOD.")
        method, brackets = found[1].strip(), found[2] or ""
        called = Chain.parse(method).name
        for setting in brackets[1:-1].split(",") if brackets else ():
            key, equals, value = (piece.strip() for piece in setting.partition("="))
            if not key or not equals or not value:
                raise UnblurError(f"'{setting}' in '{name}' is no setting: write METHOD[KEY=VALUE,...].")
            if own.setdefault(f"{called}.{key}", value) != value:
                raise UnblurError(f"'{name}' has two values of '{called}.{key}'; a chain has one of each setting.")
        parts.append(method)
        labels.append(called + brackets)
    return _Typed("+".join(parts), own, "+".join(labels))


def _with_picture(typed: _Typed, settings: Mapping[str, Any]) -> str:
    """The chain's name; a PSF estimator by itself is followed by a quick non-blind method."""
    gives = Chain.parse(typed.name, _settings_of(typed, typed.name, settings)).gives
    return typed.name if "image" in gives else f"{typed.name}+{QUICK_NON_BLIND}"


def _settings_of(typed: _Typed, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the chain `name`: its own in brackets, and of `settings` the others that it has."""
    replaced = {*typed.own, *(key.rpartition(".")[2] for key in typed.own)}
    known = setting_keys(name) - replaced
    return {**{key: value for key, value in settings.items() if key in known}, **typed.own}


def _on_any_shape(chain: Chain) -> Chain:
    """The same chain for grey and colour pictures of any size, whatever its methods take."""
    return Chain(tuple(Step(on_any_shape(step.method), step.settings) for step in chain.steps))


def identity(chain: Chain) -> Identity:
    """A key that is equal for chains with the same methods and settings."""
    return tuple((step.method.card.name, step.settings) for step in chain.steps)


def _reference(chain: Chain) -> Chain:
    """The last non-blind step of the chain, or the default one if the chain has none."""
    non_blind = [step for step in chain.steps if "psf" in step.method.card.needs]
    return Chain((non_blind[-1],)) if non_blind else Chain.parse(QUICK_NON_BLIND)
