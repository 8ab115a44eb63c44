"""In which arithmetic a network computes: bfloat16 where the processor has it, else float32."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""What a setting `precision` may be; `auto` is what `dtype_for` finds out."""


def dtype_for(precision: Precision, device: torch.device) -> torch.dtype:
    """The type in which a network's convolutions compute on `device`: float32 or bfloat16.

    `auto` is bfloat16 where `computes_bfloat16`.
    """
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """A context in which networks compute in `dtype` on `device`; for float32 it changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == torch.bfloat16 else nullcontext()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16.

    A CPU without them emulates it, up to 25 times slower than float32 (pytorch issue 183815). Those that have them
    are x86 CPUs with AVX512-BF16 or AMX, ARM CPUs with BF16, and CUDA GPUs of compute capability 8.0 or more. What
    torch cannot tell counts as no.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        return _says_yes(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return any(_says_yes(torch.cpu, name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _says_yes(module: Any, name: str) -> bool:
    """The answer of a query that not every version of torch has."""
    try:
        query: Callable[[], bool] = getattr(module, name)
    except AttributeError:
        return False
    return bool(query())
