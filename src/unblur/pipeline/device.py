"""Where the work is done: on the processor, or on an accelerator that torch finds. Figures are the same up to rounding.

`Observation.to` moves what is to be restored there, and `moved` moves what was restored back, so that files, scores and
callers find the tensors where they always are. A solver makes its tensors where its input is (`like.new_zeros`,
`device=`).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from unblur.types import Restoration, UnblurError

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
    except (RuntimeError, TypeError):  # a name that torch does not know
        device = None
    there = device_names()
    if device is None or not {f"{device.type}:{device.index or 0}", device.type} & set(there):
        # torch's version tells whether it was built for accelerators at all: "2.10.0+cpu"
        raise UnblurError(f"torch {torch.__version__} finds no device '{name}'. There is: {', '.join(there)}.")
    return device


def moved(restoration: Restoration, device: torch.device) -> Restoration:
    """A restoration with its tensors on `device`; those that are there already are not copied."""
    return replace(
        restoration,
        image=None if restoration.image is None else restoration.image.to(device),
        psf=None if restoration.psf is None else restoration.psf.to(device),
        stages={name: stage.to(device) for name, stage in restoration.stages.items()},
    )
