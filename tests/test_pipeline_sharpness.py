"""Edges tell how sharp a photo is: grain, JPEG blocks, soft backgrounds and saturated lights do not."""

import pytest
import torch

from helpers import hook_psf, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import disk_psf, gaussian_psf
from unblur.imaging.synthesis.jpeg import jpeg
from unblur.pipeline import sharpness as module
from unblur.pipeline.sharpness import sharpness

SHARP, SHAKEN = 0.8, 0.6


def picture(height: int = 160, width: int = 200) -> torch.Tensor:
    return structured_picture(height, width)


def with_noise(photo: torch.Tensor, sigma: float) -> torch.Tensor:
    return photo + sigma * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))


def compressed(photo: torch.Tensor, quality: float) -> torch.Tensor:
    return jpeg(photo.clamp(0, 1).expand(1, 3, -1, -1), torch.tensor([quality]))[:, :1]


def test_a_sharp_photo_stays_sharp_with_noise_and_as_jpeg():
    for photo, sigma in ((picture(), 0.0), (with_noise(picture(), 0.015), 0.015), (compressed(picture(), 70), 0.0)):
        assert sharpness(photo, sigma) > SHARP


def test_a_shaken_photo_stays_shaken_with_noise_that_nobody_measured_and_as_jpeg():
    shaken = convolve(picture(), hook_psf())
    for photo in (shaken, with_noise(shaken, 0.01), compressed(with_noise(shaken, 0.01), 70)):
        assert sharpness(photo, 0.0) < SHAKEN


def test_a_sharp_subject_before_a_soft_background_is_sharp():
    photo = picture()
    soft = convolve(0.4 + 0.3 * (photo - photo.mean()), disk_psf(5.0))
    photo = torch.where(torch.arange(photo.shape[-1]) < 70, photo, soft)
    assert sharpness(photo, 0.0) > SHARP


def test_lights_that_are_clipped_after_the_blur_do_not_make_it_sharp():
    lights = torch.zeros(1, 1, 160, 200)
    lights[..., 40:44, ::40] = 20.0
    shaken = convolve(picture() + lights, gaussian_psf(2.0)).clamp(0, 1)
    assert sharpness(shaken, 0.0) < SHAKEN


def test_a_picture_in_black_and_white_is_sharp_though_half_of_it_is_clipped():
    board = (torch.arange(96)[:, None] // 8 + torch.arange(96) // 8) % 2
    assert sharpness(board.float()[None, None], 0.0) > SHARP


def test_of_a_large_photo_evenly_spread_rows_are_looked_at(monkeypatch):
    sharp = picture(480, 200)
    shaken = convolve(sharp, hook_psf())
    whole = sharpness(sharp, 0.0), sharpness(shaken, 0.0)
    monkeypatch.setattr(module, "_MOST", 200 * 64 * 4)
    assert (sharpness(sharp, 0.0), sharpness(shaken, 0.0)) == pytest.approx(whole, rel=0.25)
    assert sharpness(sharp, 0.0) != whole[0]


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (33, 8)])
def test_small_and_flat_pictures_give_a_finite_number(size):
    for photo in (picture(*size), torch.full((1, 1, *size), 0.5)):
        assert 0 <= sharpness(photo, 0.0) < 10
