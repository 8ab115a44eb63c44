"""The number format in which a network computes: bfloat16 where the processor is faster with it, else float32."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""Values of a setting `precision`; see `dtype_for` for "auto"."""


def dtype_for(precision: Precision, device: torch.device, *, gradients: bool = False) -> torch.dtype:
    """Get the dtype of a network's convolutions on `device`: float32 or bfloat16.

    "auto" is bfloat16 where that is faster, else float32. An x86 CPU with AVX512-BF16 but without AMX is faster with
    bfloat16 if it computes gradients, and slower (1.3 to 1.7 times, docs/models.md) if it only restores.

    Args:
        precision: as the user set it.
        device: where the network computes.
        gradients: whether gradients are computed, too.
    """
    if precision == "auto":
        faster = computes_bfloat16(device) and (gradients or device.type != "cpu" or _multiplies_tiles())
        precision = "bfloat16" if faster else "float32"
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
    if _is_arm():
        return _says_yes(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    return any(_says_yes(torch.cpu, name) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _multiplies_tiles() -> bool:
    """Whether the CPU has more than vector instructions for bfloat16: AMX. Every ARM CPU counts, none was measured."""
    return _is_arm() or _says_yes(torch.cpu, "_is_amx_tile_supported")


def _is_arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")


def _says_yes(module: Any, name: str) -> bool:
    """Call the function `name` of `module`; False if this version of torch does not have it."""
    try:
        query: Callable[[], bool] = getattr(module, name)
    except AttributeError:
        return False
    return bool(query())
