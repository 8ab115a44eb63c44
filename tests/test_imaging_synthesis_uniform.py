"""Observations made of sharp pictures: what is said to have happened to them has happened."""

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf, psf_centroid
from unblur.imaging.synthesis import BlurRecipe, blur, perturb_psf
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import kernel_similarity

QUIET = BlurRecipe(psf_size=(3, 15), sigma=0.0)
SHARP = structured_picture(60, 70, 3)[0]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("seed", range(6))
def test_without_noise_the_blurry_picture_is_the_convolution_to_eight_bits(seed):
    made = blur(SHARP, QUIET, seeded(seed))
    expected = convolve(SHARP[None], made.true_psf, "valid")[0].clamp(0, 1)
    assert made.psf is made.true_psf
    assert made.blurry.shape == made.sharp.shape == (3, 60 - 16, 70 - 16)
    torch.testing.assert_close(made.blurry, expected, atol=0.5 / 255 + 1e-6, rtol=0)
    torch.testing.assert_close(made.sharp, SHARP[:, 8:-8, 8:-8])
    torch.testing.assert_close(made.blurry * 255, (made.blurry * 255).round(), atol=1e-3, rtol=0)


def test_the_same_dice_make_the_same_observation():
    recipe = BlurRecipe(psf_size=(3, 15), photons=(300, 1e4), softness=0.7, perturbed=0.5)
    one, same, other = (blur(SHARP, recipe, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.blurry, same.blurry) and torch.equal(one.psf, same.psf)
    assert not torch.equal(one.blurry, other.blurry)


def test_psfs_are_of_many_kinds_and_within_half_a_pixel_of_their_middle():
    psfs = [blur(SHARP, QUIET, seeded(seed)).true_psf for seed in range(60)]
    offsets = torch.tensor([psf_centroid(psf) for psf in psfs]) - 8
    assert psfs[0].shape == (17, 17)
    assert offsets.abs().max() < 0.51 and offsets.std() > 0.2, "jittered"
    widths = torch.tensor([float((psf > 0.02 * psf.max()).sum()) for psf in psfs])
    assert widths.min() <= 9 and widths.max() > 40


def test_noise_is_as_much_as_is_said():
    flat = torch.full((1, 90, 90), 0.5)
    errors = []
    for seed in range(40):
        made = blur(flat, BlurRecipe(psf_size=(3, 5), sigma=0.1), seeded(seed))
        if made.sigma > 0.01:
            errors.append(float((made.blurry - 0.5).std()) / made.sigma)
    assert errors and all(error == pytest.approx(1, abs=0.06) for error in errors)


def test_photon_noise_is_stronger_where_it_is_bright():
    steps = torch.cat((torch.full((1, 90, 45), 0.1), torch.full((1, 90, 45), 0.7)), 2)
    made = blur(steps, BlurRecipe(psf_size=(3, 3), sigma=0.0, photons=(200, 200)), seeded())
    dark, bright = made.blurry[..., :30].std(), made.blurry[..., -30:].std()
    assert float(dark) == pytest.approx((0.1 / 200) ** 0.5, rel=0.1)
    assert float(bright) == pytest.approx((0.7 / 200) ** 0.5, rel=0.1)


def test_softness_is_of_the_sharp_picture_too():
    soft = [blur(SHARP, BlurRecipe(psf_size=(3, 5), sigma=0.0, softness=1.0), seeded(seed)) for seed in range(12)]
    detail = torch.tensor([float(made.sharp.diff(dim=-1).square().mean()) for made in soft])
    assert detail.max() > 1.3 * detail.min()
    for made in soft:
        expected = convolve(made.sharp[None], made.true_psf, "valid")[0].clamp(0, 1)
        rim = (made.blurry.shape[-1] - expected.shape[-1]) // 2
        inner = made.blurry[:, rim : rim + expected.shape[-2], rim : rim + expected.shape[-1]]
        torch.testing.assert_close(inner, expected, atol=0.6 / 255, rtol=0)


def test_the_exposures_of_gilbert_et_al_are_65_pixels_wide():
    recipe = BlurRecipe(psfs="exposures")
    made = blur(structured_picture(90, 90, 1)[0], recipe, seeded())
    assert recipe.support == 65 and made.psf.shape == (65, 65) and made.blurry.shape == (1, 26, 26)


@pytest.mark.parametrize("seed", range(8))
def test_a_perturbed_psf_is_wrong_by_as_much_as_an_estimate_and_in_its_place(seed):
    psf = torch.nn.functional.pad(shake_psf(seeded(seed), 21), (6, 6, 6, 6))
    wrong = perturb_psf(psf, 0.7, seeded(seed + 100))
    assert wrong.shape == psf.shape and wrong.min() >= 0 and float(wrong.sum()) == pytest.approx(1)
    assert torch.tensor(psf_centroid(wrong)).sub(torch.tensor(psf_centroid(psf))).abs().max() < 0.05
    assert 0.4 < float(kernel_similarity(wrong, psf)) < 1


def test_how_wrong_the_psf_is_said():
    made = [blur(SHARP, BlurRecipe(psf_size=(9, 15), perturbed=0.5), seeded(seed)) for seed in range(20)]
    exact = [torch.equal(one.psf, one.true_psf) for one in made]
    assert exact == [one.wrong == 0 for one in made] and 3 < sum(exact) < 17
    worst, best = (pick((one for one in made if one.wrong), key=lambda one: one.wrong) for pick in (max, min))
    assert kernel_similarity(worst.psf, worst.true_psf) < kernel_similarity(best.psf, best.true_psf)


def test_a_small_psf_may_be_perturbed_beyond_its_square():
    for seed in range(200):
        assert float(perturb_psf(gaussian_psf(0.5, 5), 1.0, seeded(seed)).sum()) == pytest.approx(1)


def test_a_point_may_be_perturbed_too():
    assert float(perturb_psf(delta_psf(9), 1.0, seeded()).sum()) == pytest.approx(1)
