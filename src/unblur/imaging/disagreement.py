"""Where two shots of a pair disagree: something moved far, is hidden in one of them, or could not be aligned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.imaging.equal_blur import deviation, equally_blurred_copies, smoothed

# Chosen by hand on validation photos; benchmarks/pairs_moved.py measures gain and harm.
_WINDOW = 1 / 40  # standard deviation of the Gaussian window of the comparison, relative to the longer side
_FLAT = 0.01  # standard deviation of detail below which nothing is compared
_ALIKE, _UNLIKE = 0.4, 0.0  # local correlation from which the long shot is used fully, and up to which it is not


def agreement_map(blurred_short: Tensor, long: Tensor) -> Tensor:
    """How much two equally blurred shots agree in each place: `(1, 1, h, w)`, 1 alike, 0 unlike.

    It is `1 - |s - l|^2 / (|s|^2 + |l|^2)` of the luminances without their local means, in a Gaussian window: the
    correlation, if both have the same contrast. Flat places are alike.

    Args:
        blurred_short: `(1, C, h, w)`, sRGB, equally bright.
        long: same shape.
    """
    s, l = (deviation(smoothed(luminance(picture), 1.0)) for picture in (blurred_short, long))  # noqa: E741
    window = _WINDOW * max(long.shape[-2:])
    unlike, energy = (smoothed(one, window) for one in ((s - l).square(), s.square() + l.square()))
    alike = 1 - unlike / (energy + _FLAT**2)
    return ((alike - _UNLIKE) / (_ALIKE - _UNLIKE)).clamp(0, 1)


def with_agreement(long: Tensor, short: Tensor, shown: Tensor) -> tuple[Tensor, float]:
    """The long shot, with the blurred short one in its place where the two disagree.

    A method for pairs then restores these places from the short shot alone.

    Args:
        long: `(1, C, H, W)`, sRGB, [0, 1].
        short: same shape, in its place and equally bright.
        shown: `(1, 1, H, W)`, 0 where the short shot does not show the scene; there the long one stays.

    Returns:
        The long shot, and the share of its pixels that were replaced by more than half.
    """
    blurred, small = equally_blurred_copies(short, long, shown)
    unlike = F.interpolate(1 - agreement_map(blurred, small), long.shape[-2:], mode="bilinear") * shown.float()
    replaced = float((unlike > 0.5).float().mean())
    if not float(unlike.max()) > 0:
        return long, 0.0
    return torch.lerp(long, F.interpolate(blurred, long.shape[-2:], mode="bilinear"), unlike), replaced
