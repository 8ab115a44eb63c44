"""The bilateral filter: a weighted mean of neighbours that are close in position and colour."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bilateral_filter(
    picture: Tensor,
    *,
    guide: Tensor | None = None,
    window: int = 7,
    sigma_colour: float = 40 / 255,
    sigma_space: float = 10.0,
) -> Tensor:
    """Apply a bilateral filter (Tomasi & Manduchi 1998), or a joint one; differentiable.

    The defaults are those of Gilbert et al. (`wiener_stack`).

    Args:
        picture: `(B, C, H, W)`, [0, 1].
        guide: same shape; each neighbour is compared with its pixel in the middle. None: the picture itself.
        window: odd side of the neighbourhood in pixels.
        sigma_colour: standard deviation of the weight for the Euclidean distance of colours, on the [0, 1] scale;
            higher is smoother.
        sigma_space: standard deviation of the weight for the distance in pixels; higher is smoother.

    Returns:
        `(B, C, H, W)`.
    """
    guide = picture if guide is None else guide
    reach = window // 2
    padded = F.pad(picture, (reach, reach, reach, reach), "replicate")
    height, width = picture.shape[-2:]
    total, weights = torch.zeros_like(picture), torch.zeros_like(picture[:, :1])
    for dy in range(window):
        for dx in range(window):
            neighbour = padded[..., dy : dy + height, dx : dx + width]
            colour = (neighbour - guide).square().sum(1, keepdim=True) / sigma_colour**2
            place = ((dy - reach) ** 2 + (dx - reach) ** 2) / sigma_space**2
            weight = torch.exp(-(colour + place) / 2)  # (B, 1, H, W)
            total = total + weight * neighbour
            weights = weights + weight
    return total / weights
