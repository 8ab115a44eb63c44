"""The number format in which a network computes: bfloat16 if the processor has instructions for it, else float32."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""Values of a setting `precision`; see `dtype_for` for "auto"."""


def dtype_for(precision: Precision, device: torch.device) -> torch.dtype:
    """Get the dtype of a network's convolutions on `device`: float32 or bfloat16.

    "auto" is bfloat16 if `computes_bfloat16(device)`, else float32.
    """
    if precision == "auto":
        precision = "bfloat16" if computes_bfloat16(device) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Create a context in which networks compute in `dtype` on `device`. For float32 it has no effect."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == torch.bfloat16 else nullcontext()


def computes_bfloat16(device: torch.device) -> bool:
    """Whether `device` has instructions for bfloat16.

    x86 CPUs with AVX512-BF16 or AMX, ARM CPUs with BF16, and CUDA GPUs of compute capability 8.0 or more have
    them. A CPU without them emulates bfloat16, up to 25 times slower than float32 (pytorch issue 183815). False if
    torch cannot determine it.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        return _says_yes(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return any(_says_yes(torch.cpu, name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _says_yes(module: Any, name: str) -> bool:
    """Call the function `name` of `module`; False if this version of torch does not have it."""
    try:
        query: Callable[[], bool] = getattr(module, name)
    except AttributeError:
        return False
    return bool(query())
