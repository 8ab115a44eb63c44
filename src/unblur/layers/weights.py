"""Weights: reading safetensors files (tensors by name, and facts as JSON), and their order in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from unblur.types import UnblurError


def channels_last(module: nn.Module) -> nn.Module:
    """The module with its convolutions' weights in channels-last order, which is up to twice as fast on CPUs."""
    return module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `unblur.training.checkpoint.save` wrote.

    Raises:
        UnblurError: no such file, or not one of these.
    """
    if not path.is_file():
        raise UnblurError(f"{path}: no such file.")
    try:
        with safe_open(path, "pt") as file:
            facts = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in list(file.keys())}, facts
    except Exception as error:  # whatever safetensors and json raise
        raise UnblurError(f"{path}: not a file of weights ({error}).") from None
