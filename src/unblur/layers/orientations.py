"""Apply a network to rotated and mirrored copies of pictures, and average what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

# See `turned`. The first few differ as much as possible in direction and mirroring.
_ORDER = (0, 6, 3, 5, 2, 4, 1, 7)


def mean_over_orientations(
    network: Callable[..., Sequence[Tensor]], pictures: Sequence[Tensor], count: int
) -> list[Tensor]:
    """Compute the mean of what a network makes of the orientations of pictures, each turned back.

    The errors of a network differ from one orientation to the next, so their mean is smaller.

    Args:
        network: takes as many pictures as `pictures`, and returns pictures of their size.
        pictures: `(B, C, H, W)` each, of one size.
        count: number of orientations, 1 to 8. The first is that of the pictures as they are.

    Returns:
        The mean of each output, `(B, C', H, W)` in float32.
    """
    sums: list[Tensor] = []
    for orientation in _ORDER[:count]:
        made = [turned_back(one, orientation).float() for one in network(*(turned(p, orientation) for p in pictures))]
        sums = [total + one for total, one in zip(sums, made, strict=True)] if sums else made
    return [total / count for total in sums]


def turned(picture: Tensor, orientation: int) -> Tensor:
    """Rotate a picture `(..., H, W)` by `orientation % 4` right angles, and mirror it if `orientation` is 4 or more."""
    rotated = picture.rot90(orientation % 4, (-2, -1))
    return rotated.flip(-1) if orientation >= 4 else rotated


def turned_back(picture: Tensor, orientation: int) -> Tensor:
    """Undo `turned`."""
    rotated = picture.flip(-1) if orientation >= 4 else picture
    return rotated.rot90(-(orientation % 4), (-2, -1))
