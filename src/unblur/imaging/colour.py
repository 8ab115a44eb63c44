"""Luminance, and the conversion between RGB and YCbCr.

PSFs are estimated on the luminance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_REC_601 = (0.299, 0.587, 0.114)

# Divisors that scale B - Y and R - Y to -0.5 ... 0.5.
_BLUE, _RED = (2 * (1 - weight) for weight in (_REC_601[2], _REC_601[0]))

NOISE_IN_LUMINANCE = math.hypot(*_REC_601)
"""Standard deviation of the luminance of RGB noise whose channels are independent and have standard deviation 1."""


def luminance(picture: Tensor) -> Tensor:
    """Compute the Rec. 601 luma `0.299 R + 0.587 G + 0.114 B`: `(B, C, H, W)` -> `(B, 1, H, W)`.

    The sRGB values are not made linear first. A grey picture (C = 1) is returned unchanged.
    """
    if picture.shape[1] == 1:
        return picture
    weights = torch.tensor(_REC_601, dtype=picture.dtype, device=picture.device)
    return torch.einsum("bchw,c->bhw", picture, weights)[:, None]


def rgb_to_ycbcr(picture: Tensor) -> Tensor:
    """Convert RGB to YCbCr (Rec. 601): `(B, 3, H, W)` -> `(B, 3, H, W)`.

    Cb = (B - Y) / 1.772 and Cr = (R - Y) / 1.402 are 0 where the picture is grey.
    """
    luma = luminance(picture)
    return torch.cat((luma, (picture[:, 2:] - luma) / _BLUE, (picture[:, :1] - luma) / _RED), 1)


def ycbcr_to_rgb(picture: Tensor) -> Tensor:
    """Convert YCbCr to RGB, the inverse of `rgb_to_ycbcr`: `(B, 3, H, W)` -> `(B, 3, H, W)`."""
    luma, cb, cr = picture.split(1, 1)
    red, blue = luma + _RED * cr, luma + _BLUE * cb
    green = (luma - _REC_601[0] * red - _REC_601[2] * blue) / _REC_601[1]
    return torch.cat((red, green, blue), 1)
