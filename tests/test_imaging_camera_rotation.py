"""Where the light goes when a camera rotates."""

from __future__ import annotations

import math

import torch

from helpers import structured_picture
from turning_camera import FOCAL_LENGTH, hook_path, rotation, seen_through
from unblur.imaging.camera_rotation import blur_by_rotation, displacements
from unblur.metrics import psnr


def test_in_the_middle_a_pose_is_its_shift():
    poses = torch.tensor([[3.0, -2.0, 0.0], [0.0, 0.0, 0.1], [0.0, 0.0, 0.0]])
    moved = displacements(poses, (0.0, 0.0), 1000.0)
    torch.testing.assert_close(moved, torch.tensor([[3.0, -2.0], [0, 0], [0, 0]]).double(), atol=0.02, rtol=0)


def test_a_positive_roll_turns_the_right_downwards_and_the_bottom_to_the_left():
    turned = torch.tensor([[0.0, 0.0, 0.01]])
    right, below = (displacements(turned, place, 800.0)[0] for place in ((100.0, 0.0), (0.0, 100.0)))
    torch.testing.assert_close(right, torch.tensor([0.0, 1.0]).double(), atol=0.01, rtol=0)
    torch.testing.assert_close(below, torch.tensor([-1.0, 0.0]).double(), atol=0.01, rtol=0)


def test_with_a_short_focal_length_the_border_moves_further_than_the_middle():
    shift = torch.tensor([[10.0, 0.0, 0.0]])
    far = displacements(shift, (300.0, 0.0), 600.0)[0, 0]
    assert math.isclose(far, 10 * (1 + (300 / 600) ** 2), rel_tol=0.03)


def test_it_is_the_homography_of_the_rotation():
    focal, place = 500.0, (120.0, -80.0)
    poses = torch.tensor([[12.0, 5.0, 0.03], [-8.0, 20.0, -0.05]], dtype=torch.float64)
    for pose, moved in zip(poses.tolist(), displacements(poses, place, focal), strict=True):
        K = torch.diag(torch.tensor([focal, focal, 1.0], dtype=torch.float64))
        H = K @ rotation(-pose[1] / focal, pose[0] / focal, pose[2]) @ K.inverse()
        source = torch.tensor(place).double() - moved
        arrived = H @ torch.cat((source, torch.ones(1).double()))
        torch.testing.assert_close(arrived[:2] / arrived[2], torch.tensor(place).double())


def test_the_blur_is_the_mean_over_all_poses():
    sharp, poses = structured_picture(60, 80, 3), hook_path(4, 5)
    blurry = blur_by_rotation(sharp, poses, FOCAL_LENGTH * 80)
    assert psnr(blurry, seen_through(sharp, poses).float()) > 80
    pair = blur_by_rotation(torch.cat((sharp, sharp.flip(-1))), poses, FOCAL_LENGTH * 80)
    torch.testing.assert_close(pair[:1], blurry)
