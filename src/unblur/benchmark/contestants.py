"""Who is measured: each method completed to a chain that gives a picture, and the step its error ratios refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unblur.contract import Settings, nearest
from unblur.pipeline.auto import QUICK_NON_BLIND
from unblur.pipeline.chain import Chain, complete, setting_keys
from unblur.types import UnblurError

Identity = tuple[tuple[str, Settings], ...]
"""A chain's methods and settings, to be looked up by."""


@dataclass(frozen=True)
class Contestant:
    """One method of the table.

    Attributes:
        label: what the person asked for; names its rows and its folder.
        chain: what runs.
        reference: the non-blind step that is given the true psf for the error ratios.
    """

    label: str
    chain: Chain
    reference: Chain


def enter(names: Sequence[str], settings: Mapping[str, Any]) -> list[Contestant]:
    """The methods called `names`, each with those of the settings that it has.

    Raises:
        UnblurError: no such method or setting, or two methods with one label.
    """
    completed = {name: complete(name, psf_known=True) for name in names}  # imports the methods, too
    keys = {name: setting_keys(chain) for name, chain in completed.items()}
    everything = set().union(*keys.values())
    for key in settings:
        if key not in everything:
            raise UnblurError(f"none of {', '.join(names)} has a setting '{key}'.{nearest(key, everything)}")
    found = []
    for name, full_name in completed.items():
        own = {key: value for key, value in settings.items() if key in keys[name]}
        chain = Chain.parse(full_name, own)
        found.append(Contestant(Chain.parse(name).name, chain, _reference(chain)))
    labels = [contestant.label for contestant in found]
    for label in labels:
        if labels.count(label) > 1:
            raise UnblurError(f"two methods of this run are called '{label}'. Rename one of the files.")
    return found


def identity(chain: Chain) -> Identity:
    """What two chains have in common when they do the same."""
    return tuple((step.method.card.name, step.settings) for step in chain.steps)


def _reference(chain: Chain) -> Chain:
    """The chain's last non-blind step alone, or the default one where the chain has none."""
    non_blind = [step for step in chain.steps if "psf" in step.method.card.needs]
    return Chain((non_blind[-1],)) if non_blind else Chain.parse(QUICK_NON_BLIND)
