"""Checks that every metric applies to its inputs."""

from __future__ import annotations

import torch
from torch import Tensor


def in_double(name: str, tensor: Tensor) -> Tensor:
    """`tensor` as float64, the precision all metrics compute in.

    Args:
        name: name of the tensor in error messages.
        tensor: floating point, any shape.

    Raises:
        ValueError: when it holds integers, whose range is not known, or NaN or infinity.
    """
    if not tensor.is_floating_point():
        raise ValueError(
            f"{name} holds {tensor.dtype}; metrics take floating point. Convert it, and give its data_range."
        )
    if not torch.isfinite(tensor).all():
        raise ValueError(f"{name} holds NaN or infinite values, which no metric can score.")
    if tensor.device.type == "mps":  # Apple's GPU has no float64
        tensor = tensor.cpu()
    return tensor.double()


def picture_pair(restored: Tensor, sharp: Tensor) -> tuple[Tensor, Tensor]:
    """Check that both pictures are `(B, C, H, W)` of one shape; return them as float64.

    Raises:
        ValueError: when a shape is wrong, the shapes differ, or a value is not finite.
    """
    if restored.shape != sharp.shape:
        raise ValueError(
            f"restored is {tuple(restored.shape)} and sharp is {tuple(sharp.shape)}: shapes must be equal."
        )
    if restored.ndim != 4 or restored.numel() == 0:
        raise ValueError(f"pictures must be (B, C, H, W) and not empty, got {tuple(restored.shape)}.")
    return in_double("restored", restored), in_double("sharp", sharp)


def positive_range(data_range: float) -> float:
    """Check that `data_range` is above 0, and return it.

    Raises:
        ValueError: when it is 0, negative or NaN.
    """
    if not data_range > 0:
        raise ValueError(f"data_range must be above 0 (1.0 for pictures in [0, 1]), got {data_range}.")
    return data_range
