"""The number format in which a network computes: bfloat16 where the processor is faster with it, else float32."""

from __future__ import annotations

import functools
import platform
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""Values of a setting `precision`; see `dtype_for` for "auto"."""


def dtype_for(precision: Precision, device: torch.device, *, gradients: bool = False) -> torch.dtype:
    """Get the dtype of a network's convolutions on `device`: float32 or bfloat16.

    "auto" is bfloat16 where that is faster, else float32. An x86 CPU with AVX512-BF16 but without AMX is faster with
    bfloat16 if it computes gradients. If it only restores, some are twice as fast with it and others 1.5 times slower
    (docs/models.md), so a convolution is timed in both formats, once per process (`restores_in_bfloat16`).

    Args:
        precision: as the user set it.
        device: where the network computes.
        gradients: whether gradients are computed, too.
    """
    if precision == "auto":
        always = gradients or device.type != "cpu"
        faster = computes_bfloat16(device) and (always or restores_in_bfloat16())
        precision = "bfloat16" if faster else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def restores_in_bfloat16() -> bool:
    """Whether "auto" is bfloat16 on a CPU with instructions for it, if no gradients are computed.

    As `agree_on` has set it, or else as measured.
    """
    if _agreed is not None:
        return _agreed
    return computes_bfloat16(torch.device("cpu")) and (_multiplies_tiles() or _convolves_faster())


def agree_on(bfloat16: bool | None) -> None:
    """Set what `restores_in_bfloat16` gives in this process, such as what another process has measured.

    So several processes compute in one format even if their measurements differ. A CPU without instructions for
    bfloat16 computes in float32 all the same.

    Args:
        bfloat16: the answer; None: as measured.
    """
    global _agreed
    _agreed = bfloat16


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


_CLEARLY = 0.85  # time of a convolution in bfloat16, relative to float32, below which bfloat16 is used; by hand
_TIMED_ONCE = threading.Lock()
_agreed: bool | None = None  # see `agree_on`


def _convolves_faster() -> bool:
    """Whether this CPU convolves clearly faster in bfloat16 than in float32; timed once, in tenths of a second."""
    with _TIMED_ONCE:
        return _time_in_bfloat16() < _CLEARLY


@functools.cache
def _time_in_bfloat16() -> float:
    """The time of a convolution in bfloat16 relative to that in float32: the shortest of several."""
    picture, weight = torch.ones(1, 64, 128, 128, device="cpu"), torch.ones(64, 64, 3, 3, device="cpu")
    shortest = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for _ in range(6):  # in turns, so that other work on the machine slows down both; the first one is a warm-up
            for dtype in shortest:
                x, w = picture.to(dtype), weight.to(dtype)
                started = time.perf_counter()
                torch.nn.functional.conv2d(x, w, padding=1)
                shortest[dtype] = min(shortest[dtype], time.perf_counter() - started)
    return shortest[torch.bfloat16] / shortest[torch.float32]


def _is_arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")


def _says_yes(module: Any, name: str) -> bool:
    """Call the function `name` of `module`; False if this version of torch does not have it."""
    try:
        query: Callable[[], bool] = getattr(module, name)
    except AttributeError:
        return False
    return bool(query())
