"""The eight ways to lay a picture down: turned by quarters, and mirrored."""

from __future__ import annotations

from torch import Tensor

ORIENTATIONS = 8


def turned(picture: Tensor, way: int) -> Tensor:
    """`(..., H, W)` turned by `way` quarters and, from the fourth way on, then mirrored."""
    picture = picture.rot90(way % 4, (-2, -1))
    return (picture.flip(-1) if way >= 4 else picture).contiguous()


def turned_back(picture: Tensor, way: int) -> Tensor:
    """The inverse of `turned`."""
    return (picture.flip(-1) if way >= 4 else picture).rot90(-(way % 4), (-2, -1))
