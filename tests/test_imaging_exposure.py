"""The exposure ratio of two shots: what it is, what does not mislead it, and that brightening undoes it."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.noise import quantise
from unblur.imaging.synthesis.camera import to_linear, to_srgb

RATIO = torch.tensor([4.0, 6.0, 5.0]).view(1, 3, 1, 1)


def dark(picture):
    return to_srgb(to_linear(picture) / RATIO)


def test_it_is_the_ratio_of_linear_light_of_each_channel():
    long = structured_picture(45, 61, 3)
    torch.testing.assert_close(exposure_ratio(long, dark(long)), RATIO, rtol=1e-4, atol=0)


def test_noise_rounding_and_a_shift_change_it_little():
    long = structured_picture(128, 160, 3)
    noise = 0.03 * torch.randn(long.shape, generator=torch.Generator().manual_seed(0))
    short = quantise(dark(long).roll((5, -7), (-2, -1)) + noise, clip=True)
    torch.testing.assert_close(exposure_ratio(long, short), RATIO, rtol=0.1, atol=0)


def test_what_is_saturated_in_the_long_shot_does_not_count():
    scene = structured_picture(64, 80, 3)
    scene[..., :32, :40] = 3.0  # three times as bright as white, and not clipped in the short shot
    torch.testing.assert_close(exposure_ratio(scene.clamp(0, 1), dark(scene)), RATIO, rtol=1e-3, atol=0)


def test_a_channel_that_is_black_in_one_part_is_compared_in_the_other():
    long = structured_picture(64, 80, 3)
    short = dark(long)
    long[:, 2, :, :40] = 0
    torch.testing.assert_close(exposure_ratio(long, short), RATIO, rtol=1e-3, atol=0)


@pytest.mark.parametrize("level", [0.0, 0.6, 1.0])
def test_of_the_same_flat_picture_twice_it_is_one(level):
    flat = torch.full((2, 3, 13, 21), level)
    torch.testing.assert_close(exposure_ratio(flat, flat), torch.ones(2, 3, 1, 1))


def test_it_is_limited_where_one_shot_is_black():
    grey, black = torch.full((1, 1, 16, 16), 0.5), torch.zeros(1, 1, 16, 16)
    assert exposure_ratio(grey, black).item() == 64
    assert exposure_ratio(black, grey).item() == 1 / 64


def test_brightening_undoes_a_short_exposure_and_clips_lights():
    scene = structured_picture(40, 48, 3)
    torch.testing.assert_close(brightened(dark(scene), RATIO), scene, atol=1e-5, rtol=1e-4)
    assert brightened(scene, 100.0).max() == 1
