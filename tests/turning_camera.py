"""A camera that shifts and turns during the exposure, rendered by the slow definition: the mean over all its poses."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

FOCAL_LENGTH = 1.0  # in units of the longer side


def hook_path(reach: float, degrees: float, steps: int = 24) -> Tensor:
    """A path `(steps, 3)`: a hook of up to `reach` pixels to a side, while the camera turns by `degrees` in all."""
    t = torch.linspace(0, 1, steps, dtype=torch.float64)
    x = torch.where(t < 0.6, t / 0.6, 1 - 0.4 * (t - 0.6)) * 2 * reach - reach
    y = torch.where(t < 0.6, 0.2 * t, (t - 0.6) * 4.0) * reach - 0.5 * reach
    roll = (t - 0.5) * math.radians(degrees)
    return torch.stack((x - x.mean(), y - y.mean(), roll), 1)


def seen_through(sharp: Tensor, poses: Tensor) -> Tensor:
    """The mean of `sharp` `(1, C, H, W)` moved by the homography of each pose `(P, 3)`; float64."""
    height, width = sharp.shape[-2:]
    focal = FOCAL_LENGTH * max(height, width)
    y, x = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    here = torch.stack((x - (width - 1) / 2, y - (height - 1) / 2, torch.full_like(x, focal)), -1)  # (H, W, 3)
    total = torch.zeros_like(sharp, dtype=torch.float64)
    for shift_x, shift_y, roll in poses.tolist():
        before = here @ rotation(-shift_y / focal, shift_x / focal, roll)  # R^T applied to each direction
        place = focal * before[..., :2] / before[..., 2:] / here.new_tensor(((width - 1) / 2, (height - 1) / 2))
        total += F.grid_sample(sharp.double(), place[None], "bicubic", "border", align_corners=True)
    return total / len(poses)


def rotation(x: float, y: float, z: float) -> Tensor:
    """The rotation about the axis `(x, y, z)` by its length in radians (Rodrigues), `(3, 3)` float64."""
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0:
        return torch.eye(3, dtype=torch.float64)
    cross = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64) / angle
    return torch.eye(3, dtype=torch.float64) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
