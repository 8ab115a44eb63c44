"""Scores after a colour fit, for restored pictures whose colours may differ from those of the sharp picture."""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.metrics.checks import picture_pair


def with_colours_of(restored: Tensor, sharp: Tensor) -> Tensor:
    """Fit the colours of each restored picture to those of its sharp picture.

    Each channel of the result is a linear combination of all channels of the restored picture plus a constant: the one
    of the least sum of squared differences to the sharp picture. There are 12 numbers for an RGB picture, 2 for a grey
    one. So another white balance, brightness or contrast costs nothing, and blur, noise and shifts do.

    Args:
        restored: `(B, C, H, W)`, floating point.
        sharp: the sharp picture, same shape and range.

    Returns:
        `(B, C, H, W)` float64, not clipped.

    Raises:
        ValueError: when the shapes differ or a value is not finite.
    """
    restored, sharp = picture_pair(restored, sharp)
    values = torch.cat((restored, torch.ones_like(restored[:, :1])), 1).flatten(2).mT  # (B, H W, C + 1)
    # The normal equations have a few unknowns and are well scaled; a ridge decides where a channel is constant.
    normal = values.mT @ values / values.shape[1]
    right = values.mT @ sharp.flatten(2).mT / values.shape[1]  # (B, C + 1, C)
    ridge = _RIDGE * torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device)
    return (values @ torch.linalg.solve(normal + ridge, right)).mT.reshape(sharp.shape)


_RIDGE = 1e-9  # of squared values on the [0, 1] scale
