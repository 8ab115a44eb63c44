"""What can be trained: the methods with networks, and the judge, which is no method since it restores nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import unblur.methods
from unblur.contract import Trainable
from unblur.solvers.gain import JUDGE
from unblur.trained import Trained
from unblur.training.judge import JudgeTraining
from unblur.types import UnblurError


@dataclass(frozen=True)
class Subject:
    """A network, or several, that `unblur train` trains.

    Attributes:
        name: of the method, or "judge".
        trained: its folder.
        trainable: makes a `Trainable` of a recipe's tables `network` and `observations`.
    """

    name: str
    trained: Trained
    trainable: Callable[[Mapping[str, Any], Mapping[str, Any]], Trainable]


def subject(name: str) -> Subject:
    """Find what is to be trained: a method, by its name or file, or the judge.

    Raises:
        UnblurError: an unknown name, or a method without a network.
    """
    if name == JUDGE.method:
        return Subject(name, JUDGE, JudgeTraining)
    method = unblur.methods.get(name)
    if method.trainable is None or method.trained is None:
        raise UnblurError(
            f"'{name}' has no network to train. Methods with a network: {', '.join(_names())}; and the judge."
        )
    return Subject(method.card.name, method.trained, method.trainable)


def _names() -> list[str]:
    return [name for name in unblur.methods.names() if unblur.methods.get(name).trainable is not None]
