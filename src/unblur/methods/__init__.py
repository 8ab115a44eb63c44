"""The published methods: one file, or one folder for a trained network, per method.

A method is found by its module's name and imported only when it is asked for.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import pkgutil
import sys
import threading
from pathlib import Path
from types import ModuleType

from unblur.contract import Card, Method, nearest
from unblur.types import UnblurError


def names() -> list[str]:
    """Names of all methods in the package, sorted; nothing is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Method:
    """The method called `name`, or the one that a Python file outside the package defines.

    Args:
        name: one of `names()`, or the path of a file that ends in `.py`.

    Raises:
        UnblurError: naming the nearest method, or what is wrong with the file.
    """
    return _from_file(Path(name)) if name.endswith(".py") else get_by_name(name)


def get_by_name(name: str) -> Method:
    """The method of the package called `name`; never a file.

    Raises:
        UnblurError: naming the nearest method.
    """
    if name not in names():
        raise UnblurError(f"there is no method '{name}'.{nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").METHOD


_loading = threading.RLock()
_loaded: dict[str, tuple[tuple[int, int], ModuleType]] = {}  # by module name, with the file's time and size


def _from_file(path: Path) -> Method:
    """The method in a file, which is executed once and again only when it has changed."""
    module = _module_of(path)
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise UnblurError(f"{path}: defines no METHOD = Method(card, settings, restore); see docs/methods.md.")
    return method


def _module_of(path: Path) -> ModuleType:
    """The file as a module, which is in `sys.modules`: pydantic and dataclasses look their annotations up there."""
    if not path.is_file():
        raise UnblurError(f"{path}: no such file. --method takes a name from `unblur methods` or a Python file.")
    name = f"_unblur_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    version = (path.stat().st_mtime_ns, path.stat().st_size)
    with _loading:
        known = _loaded.get(name)
        if known is not None and known[0] == version:
            return known[1]
        module = _executed(path, name)
        _loaded[name] = version, module
        return module


def _executed(path: Path, name: str) -> ModuleType:
    """A new module made of the file, in `sys.modules` under `name`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # its suffix is that of Python
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # leaves no __pycache__ beside the file
    except Exception as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise UnblurError(f"{path}: importing it failed with {type(error).__name__}: {error}") from error
    return module


class _Listing(ModuleType):
    """Makes `unblur.methods()` list the cards, though `unblur.methods` is this package."""

    def __call__(self) -> list[Card]:
        return [get(name).card for name in names()]


sys.modules[__name__].__class__ = _Listing
