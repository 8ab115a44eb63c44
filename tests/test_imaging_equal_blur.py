"""The PSF between a sharp and a blurred shot, and copies of both that are equally blurred."""

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.equal_blur import equally_blurred_copies, psf_between
from unblur.imaging.synthesis.camera import to_linear, to_srgb
from unblur.metrics import psnr

SHARP = structured_picture(120, 160, 3)
PSF = torch.zeros(1, 1, 9, 9)
PSF[..., 4, 4:] = 0.15  # no symmetry: a flip would be seen
PSF[..., 1:4, 4] = 0.1
PSF /= PSF.sum()
EVERYWHERE = torch.ones(1, 1, 120, 160)


def test_the_psf_between_two_shots_is_that_of_their_blur():
    grey = luminance(SHARP)
    found = psf_between(grey, convolve(grey, PSF), EVERYWHERE)
    side = found.shape[-1]
    middle = found[..., side // 2 - 4 : side // 2 + 5, side // 2 - 4 : side // 2 + 5]
    correlation = torch.corrcoef(torch.stack((middle.flatten(), PSF.flatten())))[0, 1]
    flipped = torch.corrcoef(torch.stack((middle.flatten(), PSF.flip(-1, -2).flatten())))[0, 1]
    assert float(found.sum()) == pytest.approx(1, abs=1e-5) and float(found.min()) >= 0
    assert correlation > 0.8 > flipped + 0.3


def test_between_flat_pictures_nothing_is_blurred():
    flat = torch.full((1, 1, 40, 50), 0.5)
    found = psf_between(flat, flat, torch.ones_like(flat))
    assert float(found.max()) == 1 and int((found > 0).sum()) == 1


@pytest.mark.parametrize("linear", [True, False], ids=["in linear light", "in sRGB values"])
def test_the_sharper_copy_becomes_the_blurred_shot(linear):
    blurred = to_srgb(convolve(to_linear(SHARP), PSF)) if linear else convolve(SHARP, PSF)
    first, second = equally_blurred_copies(SHARP, blurred, EVERYWHERE)
    inside = (..., slice(12, -12), slice(12, -12))
    assert psnr(first[inside], second[inside]).item() > psnr(SHARP[inside], blurred[inside]).item() + 6
    torch.testing.assert_close(second, blurred, atol=1e-4, rtol=0)
