"""Benchmark data sets: each a folder layout and its scoring protocol.

Every module here except `base` is one data set and holds a `DATASET`. They are known by their file
names; only the one that is asked for is imported.
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
    """The data sets there are, in alphabetical order. Imports none of them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name != "base")


def get(name: str) -> Dataset:
    """The data set called `name`.

    Raises:
        UnblurError: naming the nearest data set, when there is none of that name.
    """
    if name not in names():
        raise UnblurError(f"there is no data set '{name}'.{nearest(name, names())}")
    return importlib.import_module(f"unblur.datasets.{name}").DATASET
