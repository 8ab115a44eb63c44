"""Blurry pictures of several kinds: the shares that are asked for, and each kind as it should be."""

from dataclasses import replace

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import pad_psf
from unblur.imaging.synthesis import mixed
from unblur.imaging.synthesis.mixed import MixedRecipe, average, mix
from unblur.imaging.synthesis.moving import GAMMA, SceneRecipe
from unblur.imaging.trajectory import shake_psf

SCENE = SceneRecipe(side=32, instants=6, linear=0.0, lights=0.0)
UNIFORM = MixedRecipe(half=(2, 5), scene=SCENE)


def made(recipe, seed=0):
    photo = structured_picture(recipe.area, recipe.area, 3)
    return photo, *mix(photo, recipe, torch.Generator().manual_seed(seed))


def test_a_sharp_picture_is_the_middle_of_the_photo():
    photo, sharp, blurry = made(replace(UNIFORM, sharp=1.0))
    assert torch.equal(sharp, blurry) and torch.equal(sharp, photo[..., :32, :32])


def test_the_photo_is_as_large_as_the_blur_needs():
    assert UNIFORM.area == 32 + 2 * 5
    assert replace(UNIFORM, sharp=1.0).area == 32
    assert replace(UNIFORM, moving=0.5).area == 32 + 128
    assert replace(UNIFORM, moving=0.5, half=(3, 90)).area == 32 + 180


@pytest.mark.parametrize("linear", [False, True])
def test_one_psf_blurs_the_picture_in_srgb_or_in_linear_light(monkeypatch, linear):
    psf = shake_psf(torch.Generator().manual_seed(4), 7)
    monkeypatch.setattr(mixed, "shake_psf", lambda generator, size: psf)
    photo, sharp, blurry = made(replace(UNIFORM, scene=replace(SCENE, linear=float(linear))))
    power = GAMMA if linear else 1.0
    expected = convolve(photo**power, pad_psf(psf, 11), "valid") ** (1 / power)
    torch.testing.assert_close(sharp, photo[..., 5:-5, 5:-5], atol=1e-5, rtol=0)
    torch.testing.assert_close(blurry, expected, atol=1e-5, rtol=0)


def test_psfs_of_all_sizes_occur(monkeypatch):
    sizes = []
    monkeypatch.setattr(mixed, "shake_psf", lambda generator, size: sizes.append(size) or shake_psf(generator, size))
    for seed in range(30):
        made(replace(UNIFORM, half=(1, 4)), seed)
    assert set(sizes) == {3, 5, 7, 9}


def test_a_light_stays_white_over_more_pixels_when_it_is_brighter_than_white(monkeypatch):
    psf = torch.full((11, 11), 1 / 121)
    monkeypatch.setattr(mixed, "shake_psf", lambda generator, size: psf)
    photo = torch.full((1, 3, 42, 42), 0.1)
    photo[..., 18:24, 18:24] = 1.0
    lit = replace(UNIFORM, half=(5, 5), scene=replace(SCENE, linear=1.0, lights=1.0))
    dark = replace(lit, scene=replace(SCENE, linear=1.0))
    (sharp, with_light), (same, without) = (mix(photo, recipe, torch.Generator()) for recipe in (lit, dark))
    torch.testing.assert_close(sharp, same)
    assert with_light.max() > 1.3 * without.max()


def test_the_kinds_have_the_shares_that_are_asked_for(monkeypatch):
    psf, paths = shake_psf(torch.Generator().manual_seed(4), 5), torch.zeros(1, 2, 2)
    monkeypatch.setattr(mixed, "shake_psf", lambda generator, size: psf)
    monkeypatch.setattr(mixed, "shaken_paths", lambda *_: paths)
    recipe = MixedRecipe(sharp=0.3, moving=0.3, half=(2, 2), scene=replace(SCENE, side=16, instants=2))
    photo = structured_picture(recipe.area, recipe.area, 3)
    kinds = {"sharp": 0, "moving": 0}
    for seed in range(60):
        sharp, blurry = mix(photo, recipe, torch.Generator().manual_seed(seed))
        kinds["sharp"] += torch.equal(sharp, blurry)
        kinds["moving"] += not torch.equal(sharp, photo[..., 64:80, 64:80])  # an object before the photo
    assert 10 < kinds["sharp"] < 27 and 5 < kinds["moving"] < 27


@pytest.mark.parametrize("linear", [False, True])
def test_frames_are_averaged_in_srgb_or_in_linear_light_and_the_middle_one_is_the_sharp_picture(linear):
    frames = torch.cat([structured_picture(40, 40, 3, seed) for seed in range(5)])
    recipe = MixedRecipe(scene=replace(SCENE, linear=float(linear)))
    sharp, blurry = average(frames, recipe, torch.Generator())
    power = GAMMA if linear else 1.0
    total = torch.zeros(3, 32, 32, dtype=torch.float64)
    for frame in frames.double():
        total += frame[:, 4:36, 4:36] ** power / 5
    torch.testing.assert_close(blurry[0], (total ** (1 / power)).float(), atol=1e-5, rtol=0)
    assert torch.equal(sharp[0], frames[2, :, 4:36, 4:36])
