"""How much fine detail a picture has, whatever its noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def sharpness(grey: Tensor, sigma: float) -> float:
    """Finest detail relative to coarser detail, at full and at half size; the smaller of the two.

    A blurred photo lacks fine detail at both sizes. Noise that the estimate missed (JPEG hides some) passes for detail
    at full size, but averaging 2 x 2 pixels takes most of it away.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        sigma: the standard deviation of its noise.

    Returns:
        0 for a very blurred picture, about 1 to 3 for a sharp one.
    """
    return min(_finest_detail(grey, sigma), _finest_detail(F.avg_pool2d(grey, 2), sigma / 2))


def _finest_detail(grey: Tensor, sigma: float) -> float:
    """Energy of second differences over that of first ones, noise taken off, in the blurriest of four directions.

    White noise adds 2 sigma^2 to the energy of first differences and 6 sigma^2 to that of second ones.
    A motion blur leaves edges along it sharp, hence the directions.
    """
    ratios = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        ahead, behind = (grey.roll((-n * dy, -n * dx), (-2, -1))[..., 1:-1, 1:-1] for n in (1, -1))
        here = grey[..., 1:-1, 1:-1]
        first = (ahead - here).square().mean() - 2 * sigma**2
        second = (ahead - 2 * here + behind).square().mean() - 6 * sigma**2
        ratios.append(float(second.clamp_min(0) / first.clamp_min(1e-9)))
    return min(ratios)


def slope_energy(grey: Tensor, sigma: float) -> float:
    """Mean squared difference of neighbouring pixels, noise taken off; more is sharper.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        sigma: the standard deviation of its noise.
    """
    across, down = grey.diff(dim=-1), grey.diff(dim=-2)
    return max(float(across.square().mean() + down.square().mean()) - 4 * sigma**2, 0.0)
