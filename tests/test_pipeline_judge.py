"""What is sharp, unexplained or blurred in several ways is left alone; what is shaken is not."""

import pytest
import torch

from helpers import hook_psf, observe, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.psf import delta_psf, gaussian_psf, linear_motion_psf
from unblur.methods import get
from unblur.pipeline.credibility import doubt_restoration, judge, sharpness
from unblur.types import Observation, Progress

SIGMA = 0.005


def noisy(picture: torch.Tensor) -> torch.Tensor:
    return add_gaussian_noise(picture, SIGMA, torch.Generator().manual_seed(5), clip=True)


def opinion(grey, restored=None, psf=None):
    return judge(grey, restored, psf, SIGMA, Progress())


def deconvolved(blurry, psf):
    return get("hyper_laplacian")(Observation(blurry=blurry, psf=psf[None, None], sigma=SIGMA)).image


@pytest.fixture(scope="module")
def scene():
    return observe(structured_picture(300, 340), hook_psf(), sigma=SIGMA)


def test_a_sharp_photo_is_recognised_with_and_without_noise(scene):
    for picture in (scene.sharp, noisy(scene.sharp)):
        assert "does not look blurred" in opinion(picture)


@pytest.mark.parametrize("psf", [hook_psf(), gaussian_psf(2.0), linear_motion_psf(9, 0), linear_motion_psf(9, 45)])
def test_a_blurred_photo_is_not_taken_for_sharp_whatever_the_direction(scene, psf):
    blurry = noisy(convolve(scene.sharp, psf))
    assert opinion(blurry) is None


def test_sharpness_does_not_mistake_noise_for_detail():
    blurry = convolve(structured_picture(200, 200), gaussian_psf(2.0))
    generator = torch.Generator().manual_seed(0)
    clean, grainy = sharpness(blurry, 0.0), sharpness(add_gaussian_noise(blurry, 0.02, generator), 0.02)
    assert grainy == pytest.approx(clean, abs=0.15)


def test_a_psf_that_is_a_point_means_that_nothing_is_blurred(scene):
    assert "single point" in opinion(scene.blurry, psf=delta_psf(9))


def test_the_right_psf_and_its_restoration_are_believed(scene):
    psf = hook_psf()
    assert opinion(scene.blurry, psf=psf) is None
    assert opinion(scene.blurry, deconvolved(scene.blurry, psf), psf) is None


@pytest.mark.parametrize("wrong", [hook_psf().flip(0, 1), linear_motion_psf(15, 70), gaussian_psf(4.0)])
def test_a_wrong_psf_is_not_believed(scene, wrong):
    reason = opinion(scene.blurry, deconvolved(scene.blurry, wrong), wrong)
    assert reason is not None and "No credible PSF" in reason


def test_a_restoration_that_does_not_reblur_to_the_photo_is_not_believed(scene):
    restored = deconvolved(scene.blurry, hook_psf()).roll((3, 3), (-2, -1))
    assert "does not give the photo back" in opinion(scene.blurry, restored, hook_psf())


def test_a_psf_larger_than_the_photo_is_not_believed():
    blurry = structured_picture(24, 28)
    assert "larger than the photo" in (doubt_restoration(blurry, blurry, gaussian_psf(4.0, 25), 0.01) or "")


def test_blur_that_differs_from_place_to_place_is_recognised():
    sharp = structured_picture(640, 640, seed=3)
    left = torch.arange(640) < 320
    blurry = torch.where(left, convolve(sharp, linear_motion_psf(15, 0)), convolve(sharp, linear_motion_psf(15, 90)))
    compromise = (linear_motion_psf(15, 0, 17) + linear_motion_psf(15, 90, 17)) / 2
    assert "differs from place to place" in opinion(noisy(blurry), psf=compromise)
    uniform = noisy(convolve(sharp, linear_motion_psf(15, 0)))
    assert opinion(uniform, psf=linear_motion_psf(15, 0)) is None
