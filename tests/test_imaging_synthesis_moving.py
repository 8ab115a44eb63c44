"""Scenes that move: what stands still stays sharp, what moves is averaged, and each part agrees with its slow twin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.synthesis import moving
from unblur.imaging.synthesis.moving import SceneRecipe

STILL = SceneRecipe(side=48, instants=6, shake=0.0, roll=0.0, zoom=0.0, speed=0.0, lights=0.0)
MOVING = replace(STILL, shake=12.0, roll=2.0, zoom=0.02, speed=12.0)


def scene(recipe, *, objects=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.cat([structured_picture(80, 80, 3, seed) for seed in (1, 2)])
    textures = [torch.cat([structured_picture(80, 80, 3, seed) for seed in (3, 4)])] if objects else []
    paths = moving.shaken_paths(3, recipe.instants, generator)
    return tiles, moving.render(tiles, textures, paths, recipe, generator)


def test_a_scene_in_which_nothing_moves_is_sharp():
    _, (sharp, blurry) = scene(STILL)
    torch.testing.assert_close(blurry, sharp, atol=1e-4, rtol=0)


def test_without_objects_the_sharp_picture_is_the_middle_of_the_background():
    tiles, (sharp, _) = scene(MOVING, objects=False)
    torch.testing.assert_close(sharp, tiles[..., 16:64, 16:64], atol=1e-5, rtol=0)


def test_a_scene_that_moves_is_blurry_and_stays_in_range():
    _, (sharp, blurry) = scene(MOVING)
    assert sharp.shape == blurry.shape == (2, 3, 48, 48)
    assert blurry.min() >= 0 and blurry.max() <= 1
    steepness = [picture.diff(dim=-1).square().mean((1, 2, 3)) for picture in (sharp, blurry)]
    assert (steepness[1] < steepness[0]).all()


def test_the_same_seed_gives_the_same_scene():
    (_, first), (_, second), (_, other) = (scene(MOVING, seed=seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[1], other[1])


def test_a_straight_shift_is_the_mean_of_shifted_pictures(monkeypatch):
    """By whole pixels, so that nothing is interpolated."""
    offsets = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    path = torch.stack((offsets, torch.zeros(5)), -1).expand(2, -1, -1)  # (B, T, 2)
    monkeypatch.setattr(moving, "_motion", lambda *_: moving._Motion(torch.zeros(2, 5), torch.zeros(2, 5), path))
    tiles, (_, blurry) = scene(replace(STILL, instants=5, linear=0.0), objects=False)
    expected = sum(tiles.roll(int(offset), -1) for offset in offsets)[..., 16:64, 16:64] / 5
    torch.testing.assert_close(blurry, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("paths", [moving.smooth_paths, moving.shaken_paths])
def test_paths_are_one_long_and_their_mean_is_zero(paths):
    path = paths(7, 20, torch.Generator().manual_seed(0))
    torch.testing.assert_close(path.mean(1), torch.zeros(7, 2), atol=1e-5, rtol=0)
    extent = path.amax(1) - path.amin(1)
    torch.testing.assert_close(extent.norm(dim=-1), torch.ones(7), atol=1e-5, rtol=0)


def test_psfs_sum_to_one_and_fill_a_side_of_the_sizes_asked_for():
    psfs = moving.shaken_psfs(40, (5, 11), torch.Generator().manual_seed(0))
    assert psfs.shape == (40, 1, 11, 11) and psfs.min() >= 0
    torch.testing.assert_close(psfs.sum((1, 2, 3)), torch.ones(40))
    reaches = [int((psf[0] > 0).nonzero().sub(5).abs().max()) for psf in psfs]
    assert set(reaches) == {2, 3, 4, 5}


def test_each_picture_is_blurred_by_its_own_psf():
    psfs = moving.shaken_psfs(2, (5, 11), torch.Generator().manual_seed(0))
    pictures = torch.cat([structured_picture(40, 44, 3, seed) for seed in (1, 2)])
    expected = torch.cat([convolve(one[None], psf[0], "valid") for one, psf in zip(pictures, psfs, strict=True)])
    torch.testing.assert_close(moving.blur_each(pictures, psfs), expected, atol=1e-5, rtol=0)
