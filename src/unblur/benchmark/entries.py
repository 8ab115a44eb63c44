"""The methods of a run: each is a chain that gives a picture, with the reference for its error ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unblur.contract import Settings, nearest
from unblur.pipeline.auto import QUICK_NON_BLIND
from unblur.pipeline.chain import Chain, Step, complete, setting_keys
from unblur.pipeline.channels import on_any_shape
from unblur.types import UnblurError

Identity = tuple[tuple[str, Settings], ...]
"""The methods and settings of a chain."""


@dataclass(frozen=True)
class Entry:
    """One method of the table.

    Attributes:
        label: the name that the user gave; it stands in the rows, and is the name of the folder of pictures.
        chain: the chain that is run.
        reference: the non-blind chain that gets the true PSF; its error is the denominator of the error ratios.
    """

    label: str
    chain: Chain
    reference: Chain


def make_entries(names: Sequence[str], settings: Mapping[str, Any]) -> list[Entry]:
    """The methods called `names`; each gets those settings that it has.

    Raises:
        UnblurError: when there is no such method or setting, or two methods have the same label.
    """
    completed = {name: complete(name, psf_known=True) for name in names}  # this also imports the methods
    keys = {name: setting_keys(chain) for name, chain in completed.items()}
    everything = set().union(*keys.values())
    for key in settings:
        if key not in everything:
            raise UnblurError(f"none of {', '.join(names)} has a setting '{key}'.{nearest(key, everything)}")
    found = []
    for name, full_name in completed.items():
        own = {key: value for key, value in settings.items() if key in keys[name]}
        chain = _on_any_shape(Chain.parse(full_name, own))
        found.append(Entry(Chain.parse(name).name, chain, _reference(chain)))
    labels = [entry.label for entry in found]
    for label in labels:
        if labels.count(label) > 1:
            raise UnblurError(f"two methods of this run are called '{label}'. Rename one of the files.")
    return found


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
