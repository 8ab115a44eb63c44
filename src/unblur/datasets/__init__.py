"""Benchmark data sets: each has a folder layout and a scoring protocol.

Every module here except `base` is one data set and holds a `DATASET`. The module's name is the data set's name;
a module is imported when its data set is asked for.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from unblur.contract import nearest
from unblur.types import UnblurError

if TYPE_CHECKING:
    from unblur.datasets.base import Dataset

__all__ = ["configured", "get", "names"]


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


def configured(dataset: Dataset, options: Mapping[str, Any]) -> Dataset:
    """A data set with some of its options changed.

    Args:
        dataset: the data set.
        options: values by name, see `Dataset.options`.

    Raises:
        UnblurError: when it does not accept such an option, naming the data sets that do; or a value is out of range.
    """
    for option in options:
        if option not in dataset.options:
            accept = [name for name in names() if option in get(name).options]
            which = f"These have: {', '.join(accept)}." if accept else "No data set has."
            raise UnblurError(f"the data set '{dataset.name}' has no option --{option}. {which}")
    return dataset.with_options(options)
