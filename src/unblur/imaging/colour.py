"""Luminance: what a PSF is estimated on and a restoration is judged by."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_REC_601 = (0.299, 0.587, 0.114)

NOISE_IN_LUMINANCE = math.hypot(*_REC_601)
"""Standard deviation of the luminance of RGB noise whose channels are independent and have standard deviation 1."""


def luminance(picture: Tensor) -> Tensor:
    """Rec. 601 luma, `0.299 R + 0.587 G + 0.114 B` of the sRGB values as they are: `(B, C, H, W)` -> `(B, 1, H, W)`.

    A grey picture (C = 1) is returned as it is.
    """
    if picture.shape[1] == 1:
        return picture
    weights = torch.tensor(_REC_601, dtype=picture.dtype, device=picture.device)
    return torch.einsum("bchw,c->bhw", picture, weights)[:, None]
