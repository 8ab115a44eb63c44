"""Which pixels and which noise level a solver believes in."""

import pytest
import torch

from helpers import Scene, blurred_scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.metrics import psnr
from unblur.solvers.data_term import SIGMA_FLOOR, noise_sigma, prior_weight, unclipped
from unblur.types import Observation

WHITE = 1.0


# --- clipping -------------------------------------------------------------------------------------


def test_clipped_pixels_and_their_eight_neighbours_are_not_trusted():
    picture = torch.full((1, 1, 7, 8), 0.5)
    picture[..., 3, 4] = WHITE
    trusted = unclipped(picture, True)
    expected = torch.ones(1, 1, 7, 8, dtype=torch.bool)
    expected[..., 2:5, 3:6] = False
    assert trusted is not None and torch.equal(trusted, expected)


def test_clipping_in_a_corner_reaches_no_further_than_its_neighbours():
    picture = torch.full((1, 1, 5, 5), 0.5)
    picture[..., 0, 0] = WHITE
    trusted = unclipped(picture, True)
    assert trusted is not None
    assert not trusted[..., :2, :2].any() and trusted.sum() == 21


def test_each_channel_and_each_picture_is_clipped_by_itself():
    pictures = torch.full((2, 3, 6, 6), 0.5)
    pictures[1, 2, 2, 2] = WHITE
    trusted = unclipped(pictures, True)
    assert trusted is not None
    assert trusted[0].all() and trusted[1, :2].all() and not trusted[1, 2].all()


def test_all_is_trusted_where_nothing_is_clipped_or_nobody_asks():
    bright = torch.full((1, 1, 6, 6), 254 / 255)
    assert unclipped(bright, True) is None, "one level below the limit of 8 bits is a value like any other"
    assert unclipped(torch.full((1, 1, 6, 6), WHITE), False) is None


@pytest.mark.parametrize("limit", [1.0, 255 / 255, 65535 / 65535, 1.3])
def test_the_limit_is_full_scale_whatever_the_depth(limit):
    picture = torch.full((1, 1, 6, 6), 0.5)
    picture[..., 3, 3] = limit
    assert unclipped(picture, True) is not None


@pytest.fixture(scope="module")
def night() -> Scene:
    """A dim scene with lamps ten times as bright as the sensor's limit."""
    sharp = 0.6 * structured_picture(84, 100, seed=3)
    for row, column in ((20, 30), (50, 70), (60, 25), (30, 80)):
        sharp[..., row : row + 3, column : column + 3] = 6.0
    return observe(sharp, hook_psf(), sigma=0.005)


@pytest.mark.parametrize("name", ["hyper_laplacian", "sparse", "tv_admm", "wiener", "richardson_lucy"])
def test_lamps_ring_less_when_clipped_pixels_are_left_out(name, night):
    def restored(mask_clipped: bool) -> float:
        observation = Observation(blurry=night.blurry, psf=night.psf)
        image = methods.get(name)(observation, {"mask_clipped": mask_clipped}).image
        assert image is not None
        return float(psnr(image.clamp(0, 1), night.sharp.clamp(0, 1)))

    assert restored(True) > restored(False) + (0.5 if name == "richardson_lucy" else 3)
    assert restored(True) > float(psnr(night.blurry, night.sharp.clamp(0, 1))) + 3


# --- noise ----------------------------------------------------------------------------------------


def test_every_picture_has_the_noise_level_that_was_estimated_for_it():
    sigmas = (0.01, 0.04)
    pictures = torch.cat([blurred_scene(128, 128, sigma=sigma, seed=n).blurry for n, sigma in enumerate(sigmas)])
    found = noise_sigma(Observation(blurry=pictures))
    assert found.shape == (2, 1, 1, 1)
    assert found.flatten().tolist() == pytest.approx(sigmas, rel=0.25)


def test_a_noise_level_that_is_given_is_taken():
    pictures = blurred_scene(64, 64, sigma=0.05).blurry.expand(3, 1, 64, 64)
    found = noise_sigma(Observation(blurry=pictures, sigma=0.02))
    assert found.flatten().tolist() == pytest.approx([0.02] * 3)


@pytest.mark.parametrize("sigma", [None, 0.0, 0.001])
def test_no_picture_is_believed_to_have_less_noise_than_the_floor(sigma):
    found = noise_sigma(Observation(blurry=torch.full((2, 3, 32, 32), 0.5), sigma=sigma))
    assert found.flatten().tolist() == pytest.approx([SIGMA_FLOOR] * 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (7, 7), (8, 8), (40, 5)], ids=str)
def test_a_tiny_picture_has_a_noise_level_too(size):
    found = noise_sigma(Observation(blurry=torch.full((1, 1, *size), 0.5)))
    assert found.shape == (1, 1, 1, 1) and float(found) >= SIGMA_FLOOR


@pytest.mark.parametrize("name", ["hyper_laplacian", "sparse", "tv_admm", "wiener", "richardson_lucy"])
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (7, 3)], ids=str)
def test_a_tiny_picture_is_restored_without_complaint(name, size):
    """Smaller than its own PSF, even."""
    image = methods.get(name)(Observation(blurry=torch.full((1, 3, *size), 0.5), psf=hook_psf()[None, None])).image
    assert image is not None and image.shape == (1, 3, *size)
    torch.testing.assert_close(image, torch.full((1, 3, *size), 0.5), rtol=0, atol=1e-2)


def test_the_weight_of_a_prior_grows_with_the_power_one_and_a_half_of_the_noise():
    picture = torch.full((1, 1, 16, 16), 0.5)
    weights = [
        float(prior_weight(noise_sigma(Observation(blurry=picture, sigma=sigma)), 2.0)) for sigma in (0.01, 0.04)
    ]
    assert weights == pytest.approx([2 * 0.01**1.5, 2 * 0.04**1.5])
