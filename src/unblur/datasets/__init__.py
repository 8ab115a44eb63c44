"""Benchmark data sets: each has a folder layout and a scoring protocol.

Every module here except `base` is one data set and holds a `DATASET`. The module's name is the data set's name;
a module is imported when its data set is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from unblur.contract import nearest
from unblur.types import UnblurError

if TYPE_CHECKING:
    from unblur.datasets.base import Dataset

__all__ = ["get", "names"]


def names() -> list[str]:
    """The names of all data sets, in alphabetical order. No data set is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def get(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
        UnblurError: when there is no such data set; the message suggests the nearest name.
    """
    if name not in names():
        raise UnblurError(f"there is no data set '{name}'.{nearest(name, names())}")
    return importlib.import_module(f"unblur.datasets.{name}").DATASET
