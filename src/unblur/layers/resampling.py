"""Borders and sizes: reflected padding, and doubling by bilinear interpolation.

Both are what `torch.nn.functional` has, to the rounding. On a CPU its versions fall back to slow paths for bfloat16
or channels-last (the gradient of the bilinear one took a tenth of a training step); these are a few passes
over memory in whatever format comes in.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def reflect_pad(x: Tensor) -> Tensor:
    """One more pixel on each side, mirrored about the outermost one: `(B, C, H, W)` -> `(B, C, H + 2, W + 2)`.

    Sides of 2 pixels or more; a side of 1 has nothing to mirror and is repeated.
    """
    return _ReflectPad.apply(x)  # type: ignore[no-any-return]


def double_size(x: Tensor) -> Tensor:
    """Twice the size by bilinear interpolation, `align_corners=False`: `(B, C, H, W)` -> `(B, C, 2H, 2W)`."""
    return _DoubleSize.apply(x)  # type: ignore[no-any-return]


class _ReflectPad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        for axis in (-2, -1):
            size = x.shape[axis]
            inner = 1 if size > 1 else 0
            x = torch.cat((x.narrow(axis, inner, 1), x, x.narrow(axis, size - 1 - inner, 1)), axis)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        for axis in (-1, -2):
            size = gradient.shape[axis] - 2
            inner = 1 if size > 1 else 0
            folded = gradient.narrow(axis, 1, size).clone()
            folded.narrow(axis, inner, 1).add_(gradient.narrow(axis, 0, 1))
            folded.narrow(axis, size - 1 - inner, 1).add_(gradient.narrow(axis, size + 1, 1))
            gradient = folded
        return gradient


class _DoubleSize(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """The adjoint along each axis: pixel i gave 3/4 to 2i and 2i + 1, and 1/4 to 2i - 1 and 2i + 2."""
        for axis in (-2, -1):
            even, odd = _phases(gradient, axis)
            size = even.shape[axis]
            folded = (even + odd).mul_(0.75)
            folded.narrow(axis, 0, size - 1).add_(even.narrow(axis, 1, size - 1), alpha=0.25)
            folded.narrow(axis, 1, size - 1).add_(odd.narrow(axis, 0, size - 1), alpha=0.25)
            folded.narrow(axis, 0, 1).add_(even.narrow(axis, 0, 1), alpha=0.25)  # the outermost pixel is repeated
            folded.narrow(axis, size - 1, 1).add_(odd.narrow(axis, size - 1, 1), alpha=0.25)
            gradient = folded
        return gradient


def _phases(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every second line along an axis, from the first and from the second."""
    at = (..., slice(None)) if axis == -1 else (..., slice(None), slice(None))
    even, odd = list(at), list(at)
    even[axis] = slice(0, None, 2)
    odd[axis] = slice(1, None, 2)
    return x[tuple(even)], x[tuple(odd)]
