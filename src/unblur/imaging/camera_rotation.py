"""The blur of a camera that rotates: each pose of the camera shows every point of the scene at another place.

A camera that only rotates, with angles `theta` about three axes, moves the picture by the homography `K R K^-1`, with
`R = exp([theta]x)` and `K = diag(f, f, 1)`, f the focal length in pixels (Whyte, Sivic, Zisserman & Ponce 2012, Eq. 2).
Yaw and pitch shift the picture; roll turns it, so that the PSF differs from place to place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
    here = torch.tensor((*place, focal_length), dtype=torch.float64, device=poses.device)
    before = _rotations(poses, focal_length).mT @ here  # (P, 3): the direction from which the light came
    return here[:2] - focal_length * before[:, :2] / before[:, 2:]


def blur_by_rotation(sharp: Tensor, poses: Tensor, focal_length: float) -> Tensor:
    """Blur a picture as a camera does that takes all poses for equal times (Whyte et al. 2012, Eq. 3).

    Args:
        sharp: `(B, C, H, W)`; beyond the border the nearest pixel stands.
        poses: `(P, 3)`, as for `displacements`.
        focal_length: in pixels.

    Returns:
        `(B, C, H, W)`: the mean of the picture in all poses, with bicubic interpolation. Time grows with P.
    """
    height, width = sharp.shape[-2:]
    y, x = (torch.arange(length, dtype=torch.float64) - (length - 1) / 2 for length in (height, width))
    here = torch.stack((x.expand(height, width), y[:, None].expand(height, width)), -1).to(sharp.device)  # (H, W, 2)
    here = torch.cat((here, torch.full_like(here[..., :1], focal_length)), -1)
    half = here.new_tensor(((width - 1) / 2, (height - 1) / 2))
    total = torch.zeros_like(sharp)
    for rotation in _rotations(poses, focal_length):
        before = here @ rotation  # R^T applied to each direction
        place = focal_length * before[..., :2] / before[..., 2:] / half
        grid = place.to(sharp).expand(len(sharp), -1, -1, -1)
        total += F.grid_sample(sharp, grid, "bicubic", "border", align_corners=True)
    return total / len(poses)


def _rotations(poses: Tensor, focal_length: float) -> Tensor:
    """The rotation of each pose, `(P, 3, 3)` float64."""
    poses = poses.double()
    yaw, pitch, roll = poses[:, 0] / focal_length, -poses[:, 1] / focal_length, poses[:, 2]
    nothing = torch.zeros_like(roll)
    rows = ((nothing, -roll, yaw), (roll, nothing, -pitch), (-yaw, pitch, nothing))
    return torch.linalg.matrix_exp(torch.stack([torch.stack(row, -1) for row in rows], -2))
