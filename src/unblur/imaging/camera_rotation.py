"""The blur of a camera that rotates: each pose of the camera shows every point of the scene at another place.

A camera that only rotates, with angles `theta` about three axes, moves the picture by the homography `K R K^-1`, with
`R = exp([theta]x)` and `K = diag(f, f, 1)`, f the focal length in pixels (Whyte, Sivic, Zisserman & Ponce 2012, Eq. 2).
Yaw and pitch shift the picture; roll turns it, so that the PSF differs from place to place.
"""

from __future__ import annotations

import torch
from torch import Tensor


def displacements(poses: Tensor, place: tuple[float, float], focal_length: float) -> Tensor:
    """Compute how far the light that arrives at one place of the sensor has moved.

    Args:
        poses: `(P, 3)`: the shift `x, y` in pixels in the middle of the picture, and the roll in radians. A positive
            roll turns the picture from the x axis (right) towards the y axis (down).
        place: `(x, y)` in pixels from the middle of the picture, to the right and downwards.
        focal_length: in pixels.

    Returns:
        `(P, 2)` float64: x and y in pixels. Light that arrives at the place would have arrived at the place minus the
        displacement, had the camera not moved.
    """
    poses = poses.double()
    yaw, pitch, roll = poses[:, 0] / focal_length, -poses[:, 1] / focal_length, poses[:, 2]
    nothing = torch.zeros_like(roll)
    rows = ((nothing, -roll, yaw), (roll, nothing, -pitch), (-yaw, pitch, nothing))
    rotation = torch.linalg.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))  # (P, 3, 3)
    here = poses.new_tensor((*place, focal_length))
    before = rotation.mT @ here  # (P, 3): the direction from which the light came
    return here[:2] - focal_length * before[:, :2] / before[:, 2:]
