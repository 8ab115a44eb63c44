"""The difference in exposure between two shots of one scene, estimated from the pictures."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.synthesis.camera import to_linear, to_srgb

_CELL = 8  # pixels: side of the squares whose means are compared; chosen by hand
_DARK, _BRIGHT = 0.02, 0.97  # sRGB: a square with a mean or a pixel beyond them may be clipped
_LARGEST = 64.0  # largest ratio that is returned; 6 stops


def exposure_ratio(long: Tensor, short: Tensor) -> Tensor:
    """Estimate the long exposure divided by the short one, for each channel.

    It is the ratio of the sums of linear light, over the squares of 8 x 8 pixels whose values of the channel are not
    clipped in either shot, or over all squares if there is none. Since they are sums over the picture, blur and a shift
    of some pixels change it little.

    Args:
        long: `(B, C, H, W)`, sRGB, [0, 1].
        short: same shape.

    Returns:
        `(B, C, 1, 1)`, from 1/64 to 64; 1 for black pictures.
    """
    pictures = torch.stack((long, short))  # (2, B, C, H, W)
    height, width = pictures.shape[-2:]
    padded = F.pad(pictures.flatten(0, 1), (0, -width % _CELL, 0, -height % _CELL), "replicate")
    inside = (F.max_pool2d(padded, _CELL) < _BRIGHT) & (F.avg_pool2d(padded, _CELL) > _DARK)
    usable = inside.unflatten(0, (2, -1)).all(0)  # (B, C, h, w)
    usable |= ~usable.any(-1, keepdim=True).any(-2, keepdim=True)
    light = F.avg_pool2d(to_linear(padded), _CELL).unflatten(0, (2, -1))  # (2, B, C, h, w)
    sums = (light * usable).sum((-2, -1), keepdim=True) + 1e-6  # so that it is 1 for black pictures
    return (sums[0] / sums[1]).clamp(1 / _LARGEST, _LARGEST)


def brightened(short: Tensor, ratio: Tensor | float) -> Tensor:
    """Multiply the linear light of a picture.

    Args:
        short: `(B, C, H, W)`, sRGB.
        ratio: factor of the linear light, a number or `(B, C, 1, 1)`.

    Returns:
        `(B, C, H, W)`, sRGB, clipped to [0, 1].
    """
    return to_srgb(to_linear(short) * ratio).clamp(0, 1)
