"""unblur gives a blurred or noisy photograph back sharp.

>>> import unblur
>>> sharp = unblur.restore(image)                      # numpy or torch; the same kind comes back
>>> result = unblur.restore(image, full=True)          # also the PSF, the method, why, and the notes
>>> sharp = unblur.restore(long, noisy=short, method="./mine.py")
>>> psf = unblur.estimate_psf(image)
>>> sharp = unblur.deconvolve(image, psf)
>>> data, result = unblur.restore_bytes(data)          # a photo's file in memory, e.g. a JPEG
>>> [card.name for card in unblur.methods()]

Everything is loaded when it is first used, so that `unblur --help` answers before torch is imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from unblur.types import Cancelled, Observation, Progress, Restoration, Result, UnblurError

if TYPE_CHECKING:
    from unblur import methods
    from unblur.pipeline.arrays import deconvolve, estimate_psf, restore
    from unblur.pipeline.in_memory import restore_bytes

    __version__: str

__all__ = [
    "Cancelled",
    "Observation",
    "Progress",
    "Restoration",
    "Result",
    "UnblurError",
    "__version__",
    "deconvolve",
    "estimate_psf",
    "methods",
    "restore",
    "restore_bytes",
]


def __getattr__(name: str) -> Any:
    if name in ("deconvolve", "estimate_psf", "restore"):
        return getattr(importlib.import_module("unblur.pipeline.arrays"), name)
    if name == "restore_bytes":
        return importlib.import_module("unblur.pipeline.in_memory").restore_bytes
    if name == "methods":
        return importlib.import_module("unblur.methods")
    if name == "__version__":
        from importlib.metadata import version

        return version("unblur")
    raise AttributeError(f"module 'unblur' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
