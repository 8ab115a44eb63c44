"""The path of a camera that turns, from a photo."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from helpers import CountingProgress, structured_picture
from turning_camera import FOCAL_LENGTH, hook_path, seen_through
from unblur.imaging.trajectory import rasterise
from unblur.metrics import kernel_similarity
from unblur.solvers.camera_path import PoseGrid, areas_of, search_path
from unblur.solvers.l0 import L0Search
from unblur.types import Progress


def tiles_of(height, width):
    """A picture of repeated tiles."""
    return structured_picture(50, 40).repeat(1, 1, -(-height // 50), -(-width // 40))[..., :height, :width]


SEARCH = L0Search(size=15, weight=4e-3, smoothness=0.3, iterations=2)


def test_the_adjoint_of_a_pose_grid_is_its_adjoint():
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(50, 3, generator=generator, dtype=torch.float64) * torch.tensor([4, 4, 0.02])
    grid = PoseGrid.of(poses, [(0.0, 0.0), (90.0, -40.0)], 9, 300.0)
    times, psfs = (torch.rand(shape, generator=generator, dtype=torch.float64) for shape in ((50,), (2, 9, 9)))
    torch.testing.assert_close((grid.psfs(times) * psfs).sum(), (times * grid.adjoint(psfs)).sum(), rtol=1e-6, atol=0)


def test_without_roll_the_psf_in_the_middle_is_that_of_the_trajectory():
    poses = hook_path(4, 0)
    psf = PoseGrid.of(poses, [(0.0, 0.0)], 13, 1e6).psfs(torch.full((len(poses),), 1 / len(poses)))[0]
    torch.testing.assert_close(psf, rasterise(poses[:, :2], 13), atol=1e-4, rtol=0)


def test_what_lies_outside_of_a_psf_is_left_out():
    grid = PoseGrid.of(torch.tensor([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]), [(0.0, 0.0)], 7, 1e6)
    psf = grid.psfs(torch.tensor([0.5, 0.5]))[0]
    assert math.isclose(psf.sum(), 0.5) and math.isclose(psf[3, 3], 0.5)


@pytest.mark.parametrize(("size", "count"), [((60, 80), 1), ((300, 400), 12), ((900, 1200), 12)], ids=str)
def test_areas_cover_a_small_picture_and_are_limited_in_a_large_one(size, count):
    areas = areas_of(tiles_of(*size))
    assert len(areas) == count
    assert max(max(area.picture.shape[-2:]) for area in areas) <= 384
    assert {area.place for area in areas} == {(-area.place[0], -area.place[1]) for area in areas} or size[0] > 800


def test_areas_without_edges_are_left_out():
    picture = tiles_of(300, 400)
    picture[..., :200] = 0.5
    assert 0 < len(areas_of(picture)) < 12
    assert len(areas_of(torch.full((1, 1, 300, 400), 0.5))) == 1


@pytest.fixture(scope="module")
def turned():
    """A photo taken by a camera that turned by 4 degrees, and its path."""
    poses = hook_path(4, 4)
    seen = seen_through(structured_picture(240, 320), poses)[..., 12:-12, 12:-12].float()
    return seen, poses


def path_of(picture, degrees=4.0, progress=None):
    areas = areas_of(picture)
    roll, focal = math.radians(degrees), FOCAL_LENGTH * 320 / 296
    return areas, search_path(areas, 296, SEARCH, progress or Progress(), roll=roll, focal_length=focal)


def test_the_psfs_of_the_path_are_those_of_their_places(turned):
    """Better than one PSF for all places, which is what a path without roll gives."""
    picture, poses = turned
    areas, path = path_of(picture)
    _, still = path_of(picture, 0.0)
    true = PoseGrid.of(poses, [area.place for area in areas], 31, FOCAL_LENGTH * 320)
    expected = true.psfs(torch.full((len(poses),), 1 / len(poses)))
    likeness = [
        sum(float(kernel_similarity(one.psf_at(a.place, 31), psf)) for a, psf in zip(areas, expected, strict=True))
        / len(areas)
        for one in (path, still)
    ]
    assert likeness[0] > 0.7 and likeness[0] > likeness[1] + 0.05


def test_a_path_is_a_share_of_the_exposure_for_each_pose(turned):
    _, path = path_of(turned[0], 1.0)
    assert math.isclose(path.times.sum(), 1, abs_tol=1e-5) and (path.times > 0).all()
    assert path.poses[:, 2].abs().max() <= math.radians(1.0) + 1e-9
    assert path.poses[:, 2].std() > 0


def test_progress_advances_once_per_scale(turned):
    progress = CountingProgress()
    progress.stage("searching")
    path_of(turned[0], 0.0, progress)
    assert progress.done == [len(SEARCH.scales())]
    assert all(coarse < fine for coarse, fine in pairwise(SEARCH.scales()))
