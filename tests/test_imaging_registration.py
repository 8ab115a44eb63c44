"""Two shots that differ in blur, noise, brightness and size are laid on each other; two scenes are told apart."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import grid_sample, interpolate

from helpers import blurred_scene, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.imaging.registration import register, warped
from unblur.imaging.synthesis.camera import to_linear, to_srgb

SIZE = HEIGHT, WIDTH = 180, 240
UNIT = WIDTH / 2
NOISE = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
TRUE = torch.tensor(  # 1.5 degrees, 1 % larger, shifted by 12 and -7 px, and a little perspective
    [
        [1.01 * math.cos(0.026), -1.01 * math.sin(0.026), 12 / UNIT],
        [1.01 * math.sin(0.026), 1.01 * math.cos(0.026), -7 / UNIT],
        [0.004, -0.006, 1],
    ],
    dtype=torch.float64,
)


def pixels(height=HEIGHT, width=WIDTH):
    """The coordinates of the pixels, `(height, width, 2)`, by the definition."""
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - height / 2) / (max(height, width) / 2)
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) / (max(height, width) / 2)
    return torch.stack((x[None].expand(height, width), y[:, None].expand(height, width)), -1)


def mapped(homography):
    points = torch.cat((pixels(), torch.ones(HEIGHT, WIDTH, 1, dtype=torch.float64)), -1) @ homography.T
    return points[..., :2] / points[..., 2:]


def seen_at(picture, places):
    grid = places * torch.tensor([1.0, WIDTH / HEIGHT])
    return grid_sample(picture, grid[None].float(), mode="bicubic", padding_mode="border", align_corners=False)


def dark_and_noisy(picture):
    """As a short shot: a sixth of the light, tinted, another contrast, and noise."""
    tint = torch.tensor([0.2, 0.15, 0.18]).view(1, 3, 1, 1)
    return (to_srgb(to_linear(picture) * tint) ** 1.1 + 0.02 * NOISE).clamp(0, 1)


def error_in_pixels(found, true):
    return float((found.places(*SIZE) - true).norm(dim=-1).mean()) * UNIT


def test_a_known_homography_is_found_between_a_noisy_and_a_blurred_shot():
    sharp = structured_picture(*SIZE, 3)
    long = convolve(seen_at(sharp, mapped(TRUE)), gaussian_psf(2.5, 15))
    found = register(dark_and_noisy(sharp), long)
    assert error_in_pixels(found, mapped(TRUE)) < 0.5
    assert found.agreement > 0.9
    assert found.farthest_shift(SIZE) == pytest.approx(
        float((mapped(TRUE) - pixels()).norm(dim=-1).max() * UNIT), abs=1.5
    )


@pytest.mark.parametrize("linear", [True, False], ids=["in linear light", "in sRGB values"])
def test_an_asymmetric_blur_moves_no_part_of_the_picture_against_another(linear):
    psf = torch.zeros(1, 1, 15, 15)
    psf[..., 7, 7:] = 1.0
    psf[..., 7, 7] = 8.0  # a bright end and a faint tail: the centre of a corner and that of an edge move differently
    psf[..., 7:, 14] = 2.0
    psf /= psf.sum()
    seen = seen_at(structured_picture(*SIZE, 3), mapped(TRUE)).clamp(0, 1)
    long = to_srgb(convolve(to_linear(seen), psf)) if linear else convolve(seen, psf)
    found = register(dark_and_noisy(structured_picture(*SIZE, 3)), long, local=False)
    error = found.places(*SIZE) - mapped(TRUE)
    assert float((error - error.mean((0, 1))).norm(dim=-1).mean()) * UNIT < 0.12


def test_without_blur_and_noise_it_is_exact_to_a_twentieth_of_a_pixel():
    sharp = structured_picture(*SIZE, 3)
    found = register(sharp, seen_at(sharp, mapped(TRUE)))
    assert error_in_pixels(found, mapped(TRUE)) < 0.05


def test_a_picture_lies_on_itself():
    sharp = structured_picture(*SIZE, 3)
    found = register(sharp, sharp)
    assert found.farthest_shift(SIZE) < 0.01 and found.field is None
    assert (found.agreement, found.overlap) == pytest.approx((1, 1), abs=1e-3)


def test_two_scenes_do_not_agree():
    scenes = [blurred_scene(*SIZE, 3, seed=seed) for seed in range(3)]
    for one, other in pairwise(scenes):
        assert register(dark_and_noisy(one.sharp), other.blurry).agreement < 0.7
        assert register(dark_and_noisy(one.sharp), one.blurry).agreement > 0.9


def test_another_resolution_is_no_movement():
    sharp = structured_picture(*SIZE, 3)
    large = interpolate(sharp, scale_factor=2.0, mode="bicubic")
    found = register(large, sharp)
    assert found.farthest_shift(SIZE) < 0.1
    picture, shown = warped(large, found, SIZE)
    assert picture.shape == sharp.shape and shown.float().mean() > 0.97
    assert (picture - sharp)[..., 5:-5, 5:-5].abs().mean() < 0.01


def test_a_part_of_the_scene_at_the_same_resolution_is_found():
    sharp = structured_picture(*SIZE, 3)
    part = sharp[..., 14:-10, 20:-12]  # 156 x 208
    found = register(part, sharp)
    picture, shown = warped(part, found, SIZE)
    assert found.overlap == pytest.approx(156 * 208 / (HEIGHT * WIDTH), abs=0.01)
    assert shown[0, 0, 14:-10, 20:-12].float().mean() > 0.98 and not shown[..., :10, :].any()
    assert (picture - sharp)[..., 20:-16, 26:-18].abs().mean() < 0.01


def test_a_displacement_field_follows_what_a_homography_cannot():
    sharp = structured_picture(*SIZE, 3)
    bend = torch.stack((torch.sin(4 * pixels()[..., 1]), torch.sin(5 * pixels()[..., 0])), -1) * 2 / UNIT
    long = convolve(seen_at(sharp, pixels() + bend), gaussian_psf(1.5, 9))
    plane, bent = (register(dark_and_noisy(sharp), long, local=local) for local in (False, True))
    assert plane.field is None and bent.field is not None
    assert error_in_pixels(bent, pixels() + bend) < 0.6 * error_in_pixels(plane, pixels() + bend)


@pytest.mark.parametrize("size", [(9, 9), (20, 300), (300, 20)])
def test_pictures_of_any_size_and_without_detail_have_a_registration(size):
    for picture in (torch.zeros(1, 1, *size), torch.ones(1, 1, *size), structured_picture(*size)):
        found = register(picture, picture)
        assert torch.isfinite(found.places(*size)).all() and -1 <= found.agreement <= 1
