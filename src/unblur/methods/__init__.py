"""The published methods: one file per method, or one folder if it has a trained network.

The name of a method is that of its module, which is imported only when the method is used.
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
    """List the names of all methods in the package, sorted, without importing them."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Method:
    """Get a method of the package by its name, or the method that a Python file defines.

    Args:
        name: one of `names()`, or the path of a file that ends in `.py`.

    Raises:
        UnblurError: an unknown name (the message suggests the most similar one), or a file without a method.
    """
    return _from_file(Path(name)) if name.endswith(".py") else get_by_name(name)


def get_by_name(name: str) -> Method:
    """Get a method of the package by its name. Files are not accepted.

    Raises:
        UnblurError: an unknown name (the message suggests the most similar one).
    """
    if name not in names():
        raise UnblurError(f"there is no method '{name}'.{nearest(name, names())}")
    return importlib.import_module(f"{__name__}.{name}").METHOD


_loading = threading.RLock()
_loaded: dict[str, tuple[tuple[int, int], ModuleType]] = {}  # module name -> (the file's time and size, module)


def _from_file(path: Path) -> Method:
    """Get the method that a file defines. The file is executed the first time, and again after a change."""
    module = _module_of(path)
    method = getattr(module, "METHOD", None)
    if not isinstance(method, Method):
        raise UnblurError(f"{path}: defines no METHOD = Method(card, settings, restore); see docs/methods.md.")
    return method


def _module_of(path: Path) -> ModuleType:
    """Get the module of a file. It is in `sys.modules`, where pydantic and dataclasses look up annotations."""
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
    """Execute the file as a new module, in `sys.modules` under `name`."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # since the name ends in .py
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)  # creates no __pycache__
    except Exception as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise UnblurError(f"{path}: importing it failed with {type(error).__name__}: {error}") from error
    return module


class _Listing(ModuleType):
    """The type of this package, so that `unblur.methods()` lists the cards."""

    def __call__(self) -> list[Card]:
        return [get(name).card for name in names()]


sys.modules[__name__].__class__ = _Listing
