"""A blur whose PSF changes over the picture: the operator, its adjoint, and what a turning camera really does."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from turning_camera import FOCAL_LENGTH, hook_path, seen_through
from unblur.imaging.convolution import convolve
from unblur.metrics import psnr
from unblur.solvers.camera_path import PoseGrid
from unblur.solvers.filter_flow import FilterFlow, blending_weights, centres


def random_psfs(rows, columns, side=5):
    psfs = torch.rand(rows, columns, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return psfs / psfs.sum((-2, -1), keepdim=True)


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (4, 1)], ids=["one", "2 x 3", "4 x 1"])
def test_the_adjoint_is_the_adjoint(grid):
    flow = FilterFlow(random_psfs(*grid), (23, 30))
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(2, 3, 23, 30, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close((flow.forward(x) * y).sum(), (x * flow.adjoint(y)).sum(), rtol=1e-6, atol=0)


def test_the_weights_sum_to_1_and_each_is_1_at_its_own_centre():
    for length, count in ((40, 4), (37, 3), (9, 1)):
        weights = blending_weights(length, count)
        torch.testing.assert_close(weights.sum(0), torch.ones(length))
        assert (weights >= 0).all()
    middle = blending_weights(41, 4)[:, [round(c) for c in centres(41, 4)]]
    assert (middle.diag() > 0.9).all()


def test_where_all_psfs_are_equal_it_is_one_convolution():
    picture, psf = structured_picture(40, 50, 3).double(), random_psfs(1, 1)
    flow = FilterFlow(psf.expand(3, 2, 5, 5), (40, 50))
    torch.testing.assert_close(flow.forward(picture), convolve(picture, psf[0, 0], "zero"))


def test_a_constant_picture_is_not_changed_inside():
    flow = FilterFlow(random_psfs(3, 4), (40, 50))
    made = flow.forward(torch.full((1, 1, 40, 50), 0.7, dtype=torch.float64))
    torch.testing.assert_close(made[..., 2:-2, 2:-2], torch.full((1, 1, 36, 46), 0.7, dtype=torch.float64))


def test_it_agrees_with_the_mean_over_the_poses_of_a_turning_camera():
    """And one PSF for the whole picture does not. Beyond the middle, the order of weights and convolution matters."""
    sharp = structured_picture(180, 240).double()
    poses = hook_path(6, 3)
    truth = seen_through(sharp, poses)
    grid, equally = (6, 8), torch.full((len(poses),), 1 / len(poses))
    places = [(x - 119.5, y - 89.5) for y in centres(180, 6) for x in centres(240, 8)]
    psfs = PoseGrid.of(poses, [*places, (0.0, 0.0)], 25, FOCAL_LENGTH * 240).psfs(equally).double()
    inside = (..., slice(16, -16), slice(16, -16))
    made = FilterFlow(psfs[:-1].unflatten(0, grid), (180, 240)).forward(sharp)
    assert psnr(made[inside].float(), truth[inside].float()) > 45
    assert psnr(convolve(sharp, psfs[-1], "zero")[inside].float(), truth[inside].float()) < 35
