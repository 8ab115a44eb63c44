"""The published methods: one file, or one folder for a trained network, per method.

A method is found by its module's name and imported only when it is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from unblur.contract import Card, Method, nearest
from unblur.types import UnblurError


def names() -> list[str]:
    """Names of all methods in the package, sorted; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Method:
    """The method called `name`, or the one a file `./mine.py` outside the package defines.

    Raises:
        UnblurError: naming the nearest method, or what is wrong with the file.
    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name not in names():
        raise UnblurError(f"there is no method '{name}'.{nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").METHOD


def _from_file(path: Path) -> Method:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UnblurError(f"{path}: no such file. --method takes a name from `unblur methods` or a Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UnblurError(f"{path}: importing it failed with {type(error).__name__}: {error}") from error
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise UnblurError(f"{path}: defines no METHOD = Method(card, settings, restore); see docs/methods.md.")
    return method


class _Listing(ModuleType):
    """Makes `unblur.methods()` list the cards, though `unblur.methods` is this package."""

    def __call__(self) -> list[Card]:
        return [get(name).card for name in names()]


sys.modules[__name__].__class__ = _Listing
