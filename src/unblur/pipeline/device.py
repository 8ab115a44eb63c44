"""Where the work is done: on the processor, or on an accelerator that torch finds. Figures are the same up to rounding.

What is to be restored is moved there with `moved` and what came of it is moved back, so that files, scores and callers
see the tensors where they always are. A solver makes its tensors where its input is (`like.new_zeros`, `device=`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from unblur.types import Observation, Restoration, UnblurError

Carrier = TypeVar("Carrier", Observation, Restoration)

CPU = torch.device("cpu")


def device_names() -> list[str]:
    """The devices there are: `cpu`, and every accelerator by its number, `cuda:0`, `cuda:1`, ..."""
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if kind is None:
        return ["cpu"]
    return ["cpu", *(f"{kind.type}:{number}" for number in range(torch.accelerator.device_count()))]


def find_device(name: str | torch.device) -> torch.device:
    """The device called `name`: `cpu`, `cuda`, `cuda:1`, ...; without a number, the first of its kind.

    Raises:
        UnblurError: no such device; the message says which there are.
    """
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):  # no device torch has ever heard of
        device = None
    there = device_names()
    if device is None or not {f"{device.type}:{device.index or 0}", device.type} & set(there):
        # torch's version tells whether it was built for accelerators at all: "2.10.0+cpu"
        raise UnblurError(f"torch {torch.__version__} finds no device '{name}'. There is: {', '.join(there)}.")
    return device


def moved(thing: Carrier, device: torch.device) -> Carrier:
    """An observation or a restoration with its tensors on `device`; those that are there already are not copied."""
    fields = {name: getattr(thing, name) for name in type(thing).__slots__}
    changes: dict[str, Any] = {name: value.to(device) for name, value in fields.items() if isinstance(value, Tensor)}
    if isinstance(thing, Restoration):
        changes["stages"] = {name: stage.to(device) for name, stage in thing.stages.items()}
    return replace(thing, **changes)
