"""How sharp the strongest edges of a picture are, and how steep its slopes are, whatever its noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Chosen by hand; benchmarks/sharpness.py measures the result.
_EDGES = 0.01  # share of the pixels that count as the strongest edges in one direction
_FEWEST = 64  # pixels: with fewer of them that are not saturated, saturated ones count too
_WHITE = 250 / 255  # luminance from which a pixel may be saturated
_BORDER = 3  # pixels
_BAND = 64  # rows of a large picture that lie together
_MOST = 2_000_000  # pixels of a large picture that are looked at


def sharpness(grey: Tensor, sigma: float) -> float:
    """Finest detail relative to coarser detail at the strongest edges, at full and at half size; the smaller of both.

    The edges of a blurred photo are wide at both sizes. Grain, JPEG blocks and rounding are fine detail, too, but not
    at the strongest edges of a smoothed copy of the picture. In a photo with shallow depth of field the strongest edges
    are those in focus. Saturated pixels are left out, since clipping makes edges sharp.

    Args:
        grey: `(1, 1, H, W)`, [0, 1]. Of more than two million pixels, some rows are looked at.
        sigma: the standard deviation of its noise.

    Returns:
        0 for a very blurred picture, 0.8 to 1.8 for most sharp ones.
    """
    bands = _bands(grey)
    return min(_finest_detail(bands, sigma), _finest_detail(F.avg_pool2d(bands, 2), sigma / 2))


def _bands(grey: Tensor) -> Tensor:
    """The picture, or bands of a large one that are evenly spread over its height: `(n, 1, h, W)`."""
    height, width = grey.shape[-2:]
    count = _MOST // (_BAND * width)
    if height * width <= _MOST or count < 2:
        return grey
    tops = torch.linspace(0, height - _BAND, count).long().tolist()
    return torch.cat([grey[..., top : top + _BAND, :] for top in tops])


def _finest_detail(grey: Tensor, sigma: float) -> float:
    """Energy of second differences over that of first ones, noise taken off, in the blurriest of four directions.

    White noise adds 2 sigma^2 to the energy of first differences and 6 sigma^2 to that of second ones.
    A motion blur leaves edges along it sharp, hence the directions. Edges are searched along each direction in the
    differences of a smoothed copy. Without edges it is 0.
    """
    if min(grey.shape[-2:]) <= 2 * _BORDER:
        return 0.0
    smooth = F.avg_pool2d(grey, 3, 1, 1)
    usable = F.max_pool2d((grey >= _WHITE).to(grey), 5, 1, 2) == 0
    ratios = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        rise = (_inside(smooth, 2 * dy, 2 * dx) - _inside(smooth, -2 * dy, -2 * dx)).abs()
        edges = _strongest(rise, _inside(usable, 0, 0))
        if not edges.any():
            continue
        ahead, here, behind = (_inside(grey, n * dy, n * dx)[edges] for n in (1, 0, -1))
        first = (ahead - here).square().mean() - 2 * sigma**2
        second = (ahead - 2 * here + behind).square().mean() - 6 * sigma**2
        ratios.append(float(second.clamp_min(0) / first.clamp_min(1e-9)))
    return min(ratios, default=0.0)


def _strongest(rise: Tensor, usable: Tensor) -> Tensor:
    """Where the rise is among the steepest, and one pixel around: True or False, same shape."""
    if int(usable.sum()) * _EDGES < _FEWEST:
        usable = torch.ones_like(usable)
    rise = rise * usable
    values = rise.flatten()
    count = max(round(_EDGES * len(values)), 1)
    steep = rise >= values.kthvalue(len(values) - count + 1).values.clamp_min(1e-6)
    return (F.max_pool2d(steep.to(rise), 3, 1, 1) > 0) & usable


def _inside(field: Tensor, dy: int, dx: int) -> Tensor:
    """A field `(n, 1, H, W)` without its borders, seen `(dy, dx)` pixels further on."""
    rows, columns = (slice(_BORDER + d, field.shape[axis] - _BORDER + d) for axis, d in ((-2, dy), (-1, dx)))
    return field[..., rows, columns]


def slope_energy(grey: Tensor, sigma: float) -> float:
    """Mean squared difference of neighbouring pixels, noise taken off; more is sharper.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        sigma: the standard deviation of its noise.
    """
    across, down = grey.diff(dim=-1), grey.diff(dim=-2)
    return max(float(across.square().mean() + down.square().mean()) - 4 * sigma**2, 0.0)
