"""Where the two shots of a pair show something else, the short one stands in the place of the long one."""

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.disagreement import with_agreement
from unblur.imaging.psf import gaussian_psf
from unblur.metrics import psnr

SIZE = 160, 200
SHARP = structured_picture(*SIZE, 3)
LONG = convolve(SHARP, gaussian_psf(2.0, 13))
SHORT = (SHARP + 0.05 * torch.randn(SHARP.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
EVERYWHERE = torch.ones(1, 1, *SIZE)
LEFT, RIGHT = (..., slice(0, 60)), (..., slice(140, 200))


def with_another_right_half():
    other = convolve(structured_picture(*SIZE, 3).flip(-1, -2), gaussian_psf(2.0, 13))
    return torch.cat((LONG[..., :100], other[..., 100:]), -1)


def test_a_pair_that_agrees_is_left_as_it_is():
    long, replaced = with_agreement(LONG, SHORT, EVERYWHERE)
    assert replaced == 0
    assert psnr(long, LONG).item() > 45


def test_where_the_long_shot_shows_something_else_the_short_one_replaces_it():
    wrong = with_another_right_half()
    long, replaced = with_agreement(wrong, SHORT, EVERYWHERE)
    assert 0.1 < replaced < 0.55
    assert psnr(long[RIGHT], LONG[RIGHT]).item() > psnr(wrong[RIGHT], LONG[RIGHT]).item() + 3
    assert psnr(long[LEFT], LONG[LEFT]).item() > 40


def test_where_the_short_shot_shows_nothing_the_long_one_stays():
    wrong, shown = with_another_right_half(), EVERYWHERE.clone()
    shown[..., 100:] = 0
    long, _ = with_agreement(wrong, SHORT, shown)
    torch.testing.assert_close(long[..., 100:], wrong[..., 100:])


def test_flat_pictures_agree():
    flat = torch.full((1, 3, 40, 50), 0.5)
    long, replaced = with_agreement(flat, flat + 0.002, torch.ones(1, 1, 40, 50))
    assert replaced == pytest.approx(0)
    torch.testing.assert_close(long, flat)
