"""Pictures as programmers have them, numpy arrays or torch tensors, and what a result needs to come back alike.

The kinds, shapes and values are in the table of `pipeline/arrays.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unblur.types import Result, UnblurError

_LEVELS = {torch.uint8: 255, torch.uint16: 65535}
_FARTHEST = 2.0  # floating-point values outside [-1, 2] mean that the picture is not scaled to [0, 1]


@dataclass(frozen=True)
class Layout:
    """How a picture came in, so that the result goes out alike."""

    is_numpy: bool
    shape: torch.Size
    dtype: torch.dtype

    def __str__(self) -> str:
        """The kind and the shape, for a message."""
        return f"{'numpy' if self.is_numpy else 'torch'}, {tuple(self.shape)}"

    def put_together(self, pictures: Tensor, alpha: Tensor | None) -> Any:
        """`(B, C, H, W)` float32 as what came in, with its alpha as it was."""
        if self.dtype in _LEVELS:
            top = _LEVELS[self.dtype]
            # before torch 2.7 only the CPU converts float to uint16; int32 works everywhere
            pictures = (pictures * top + 0.5).floor().clamp(0, top).to(torch.int32)
        pictures = pictures.to(self.dtype)
        if alpha is not None:
            pictures = torch.cat([pictures, alpha], dim=1)
        if not self.is_numpy:
            return pictures.reshape(self.shape)
        return np.ascontiguousarray(pictures[0].permute(1, 2, 0).numpy()).reshape(self.shape)

    def as_came(self, result: Result[Tensor], image: Any) -> Result[Any]:
        """The same result with this image, and with PSF and stages of its kind."""
        stages = {name: stage[0] for name, stage in result.stages.items()}  # (C, H, W)
        if not self.is_numpy:
            return replace(result, image=image, stages=stages)
        as_numpy = {name: np.ascontiguousarray(stage.permute(1, 2, 0).numpy()) for name, stage in stages.items()}
        return replace(result, image=image, psf=None if result.psf is None else result.psf.numpy(), stages=as_numpy)


def taken_apart(image: Any) -> tuple[Layout, Tensor, Tensor | None]:
    """The layout, the colours `(B, C, H, W)` as float32 in [0, 1], and the alpha `(B, 1, H, W)` as it came.

    Raises:
        UnblurError: no picture, or one of another shape, type or range.
    """
    is_numpy = isinstance(image, np.ndarray)
    if not is_numpy and not isinstance(image, Tensor):
        raise UnblurError(f"a picture is a numpy array or a torch tensor, not a {type(image).__name__}.")
    if 0 in image.shape:
        raise UnblurError(f"the picture is empty: its shape is {tuple(image.shape)}.")
    tensor = _from_numpy(image) if is_numpy else image.detach()
    layout = Layout(is_numpy, tensor.shape, tensor.dtype)
    batch = _batch(tensor, is_numpy)
    colours = batch.shape[1] - (batch.shape[1] % 2 == 0)
    return layout, _unit_range(batch[:, :colours]), batch[:, colours:] if colours < batch.shape[1] else None


def _from_numpy(image: np.ndarray) -> Tensor:
    if image.dtype.newbyteorder("=") not in (np.uint8, np.uint16, np.float16, np.float32, np.float64):
        raise UnblurError(f"numpy pictures are uint8, uint16 or floating point, not {image.dtype}. {_CONVERT}")
    return torch.from_numpy(native(image))


def native(array: np.ndarray) -> np.ndarray:
    """A contiguous copy in this machine's byte order, also of an array that is read-only or has negative strides."""
    return np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=True))


_CONVERT = "Convert it with its whole range: image.astype('uint8'), or a float in [0, 1]."


def _batch(tensor: Tensor, is_numpy: bool) -> Tensor:
    """As `(B, C, H, W)`, C = 1 to 4."""
    batch = tensor
    if is_numpy and tensor.ndim == 3:
        batch = tensor.permute(2, 0, 1)[None]
    elif tensor.ndim in (2, 3):
        batch = tensor.expand(1, *([1] * (3 - tensor.ndim)), *tensor.shape)
    if batch.ndim == 4 and 1 <= batch.shape[1] <= 4 and not (is_numpy and tensor.ndim == 4):
        return batch
    shapes = "(H, W) or (H, W, C), channels last," if is_numpy else "(H, W), (C, H, W) or (B, C, H, W)"
    kind = "numpy" if is_numpy else "torch"
    raise UnblurError(f"a {kind} picture is {shapes} with C = 1 to 4, not {tuple(tensor.shape)}.")


def _unit_range(batch: Tensor) -> Tensor:
    """As float32 in [0, 1]."""
    if batch.dtype in _LEVELS:
        return batch.to(torch.float32) / _LEVELS[batch.dtype]
    if not batch.dtype.is_floating_point:
        raise UnblurError(f"torch pictures are uint8, uint16 or floating point, not {batch.dtype}. {_CONVERT}")
    values = batch.to(torch.float32).contiguous()
    if not torch.isfinite(values).all():
        raise UnblurError("the picture holds NaN or infinite values. Replace them first.")
    low, high = float(values.min()), float(values.max())
    if high > _FARTHEST or low < 1 - _FARTHEST:
        raise UnblurError(
            f"a floating-point picture is in [0, 1]; this one goes from {low:g} to {high:g}. "
            "Divide it by its white level (255, say)."
        )
    return values
