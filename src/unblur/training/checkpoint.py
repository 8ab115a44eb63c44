"""The state of a run in one safetensors file: named tensors, and other values as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from safetensors.torch import save as serialise
from torch import Tensor, nn
from torch.optim import Optimizer

from unblur.types import UnblurError


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts (as JSON). An older file is replaced only when the new one is complete.

    `unblur.trained.read_tensors` reads both.
    """
    partial = path.with_suffix(".partial")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with partial.open("wb") as file:
        file.write(serialise(plain, {key: json.dumps(value) for key, value in facts.items()}))
        os.fsync(file.fileno())
    partial.replace(path)


def halved(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights in half precision."""
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}


def put_weights(modules: Mapping[str, nn.Module], weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights, named `MODULE.WEIGHT`, into modules.

    Raises:
        UnblurError: when the weights are those of another network; the message names `source`.
    """
    try:
        nn.ModuleDict(dict(modules)).load_state_dict(weights)
    except RuntimeError as error:
        reason = shorten(str(error).splitlines()[-1], 160)
        raise UnblurError(f"{source}: these are the weights of another network ({reason}).") from None


def optimizer_tensors(optimizers: Mapping[str, Optimizer]) -> dict[str, Tensor]:
    """The state of optimisers for each weight, named `OPTIMIZER.NUMBER.QUANTITY` with the number of the weight."""
    return {
        f"{name}.{number}.{quantity}": torch.as_tensor(value)
        for name, optimizer in optimizers.items()
        for number, state in optimizer.state_dict()["state"].items()
        for quantity, value in state.items()
    }


def put_optimizer_tensors(optimizers: Mapping[str, Optimizer], tensors: Mapping[str, Tensor]) -> None:
    """Load the state of optimisers from such tensors."""
    for name, optimizer in optimizers.items():
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            owner, number, quantity = key.rsplit(".", 2)
            if owner == name:
                states.setdefault(int(number), {})[quantity] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
