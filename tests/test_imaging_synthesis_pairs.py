"""Pairs of shots: where the long one lies, how dark and noisy the short one is, and the frames of GOPRO2."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import structured_picture
from unblur.contract import checked
from unblur.imaging.exposure import brightened
from unblur.imaging.synthesis.camera import to_linear
from unblur.imaging.synthesis.moving import SceneRecipe, moving_scene, render, shaken_paths
from unblur.imaging.synthesis.pair_samples import PairObservations, first_and_mean, observe_pair, shots
from unblur.imaging.synthesis.pairs import PairRecipe, pair, photographed, published_noise, resampled
from unblur.metrics import best_shift, psnr
from unblur.types import UnblurError

SCENE = SceneRecipe(side=64, instants=10, shake=24.0, speed=0.0, objects=0.0, linear=1.0, lights=0.0)
CLEAN = PairRecipe(
    still=0, aligned=0, exposure=(1, 1), overexposed=0, tint=0, tone=0, sigma=(0, 0), jpeg=0, published=0, scene=SCENE
)


def photo(recipe, seed=0):
    return structured_picture(recipe.area, recipe.area, 3, seed)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_without_noise_the_short_shot_is_the_sharp_picture_and_the_long_one_is_blurry():
    made = pair(photo(CLEAN), CLEAN, seeded(1))
    torch.testing.assert_close(made.noisy, made.sharp, atol=0.51 / 255, rtol=0)
    assert made.blurry.diff(dim=-1).square().mean() < 0.7 * made.sharp.diff(dim=-1).square().mean()


def test_the_long_shot_is_the_mean_of_later_instants_and_the_short_one_is_the_first():
    scene, tiles = replace(SCENE, instants=8), photo(CLEAN)
    shaken = shaken_paths(4, 8, seeded(2))
    light, _ = moving_scene(tiles, [], shaken, scene, seeded(3))
    sharp, blurry = first_and_mean(torch.cat([light(instant) for instant in range(8)]))
    assert torch.equal(sharp, light(0))
    torch.testing.assert_close(blurry, sum(light(instant) for instant in range(2, 8)) / 6)
    # the same scene by `render`, which averages all instants
    _, whole = render(tiles, [], shaken, scene, seeded(3))
    torch.testing.assert_close(whole**2.2, sum(light(instant) for instant in range(8)) / 8, atol=1e-4, rtol=0)


def test_the_shots_do_not_lie_on_each_other_unless_they_are_aligned():
    beside, aligned = (replace(CLEAN, aligned=share) for share in (0, 1))
    shifts = [
        sum(
            float(best_shift(made.blurry, made.sharp, search=12).abs().max())
            for made in (pair(photo(recipe, seed), recipe, seeded(seed)) for seed in range(3))
        )
        for recipe in (beside, aligned)
    ]
    assert shifts[0] > 3 * shifts[1]


def test_a_still_scene_is_not_blurred_and_may_be_shifted():
    recipe = replace(CLEAN, still=1, aligned=1)
    made = pair(photo(recipe), recipe, seeded(0))
    assert (made.blurry - made.sharp).abs().max() < 0.51 / 255
    shifted = pair(photo(recipe), replace(recipe, aligned=0), seeded(5))
    assert (shifted.blurry - shifted.sharp).abs().mean() > 0.01
    sharpness = [picture.diff(dim=-1).square().mean() for picture in (shifted.blurry, shifted.sharp)]
    torch.testing.assert_close(*sharpness, rtol=0.5, atol=0)


def test_the_short_shot_is_dark_by_the_exposure_and_has_noise_of_sigma_once_it_is_brightened():
    grey = torch.full((1, 3, 128, 128), 0.5)
    recipe = replace(CLEAN, exposure=(0.2, 0.2), sigma=(0.05, 0.05), demosaicked=0)
    made = photographed(grey, grey, recipe, seeded(0))
    assert float(to_linear(made.noisy).mean() / to_linear(grey).mean()) == pytest.approx(0.2, rel=0.05)
    assert torch.equal(made.noisy, (255 * made.noisy).round() / 255)  # 8 bits while it is dark
    assert float(brightened(made.noisy, 5.0).std()) == pytest.approx(0.05, rel=0.1)
    assert float(made.blurry.std()) < 0.05 * 0.2**0.5 * 1.1  # the long shot has a lower gain


def test_a_tint_darkens_each_channel_by_its_own_factor_and_lights_survive_in_the_short_shot():
    bright = torch.full((1, 3, 32, 32), 1.3)
    made = photographed(bright, bright, replace(CLEAN, exposure=(0.3, 0.3), tint=0.2), seeded(4))
    levels = to_linear(made.noisy).mean((0, 2, 3)) / to_linear(torch.tensor(1.3))
    assert levels.min() > 0.3 / 2 and levels.max() < 0.3 * 2 and levels.std() > 0.02
    assert made.sharp.max() == made.blurry.max() == 1


@pytest.mark.parametrize(
    ("exposure", "deviation"),
    [(0.6, 0.08), (0.4, (0.4 * 0.5 / 51) ** 0.5)],  # Gaussian; Poisson of 51 levels (Eq. 8)
)
def test_published_noise_is_that_of_photons_in_low_light_and_gaussian_otherwise(exposure, deviation):
    sharp = torch.full((1, 3, 160, 160), 0.5)
    sharp.flatten()[:51] = torch.arange(51) * 5 / 255
    sharp.flatten()[51:200] = 0.0
    assert len(((sharp * 255).round()).unique()) == 52  # 51 and the grey one
    noisy = published_noise(sharp, 0.08, exposure, seeded(0))[..., 2:, :]
    assert float(noisy.mean()) == pytest.approx(0.5 * exposure, rel=0.02)
    assert float(noisy.std()) == pytest.approx(deviation, rel=0.04)


def test_of_frames_the_first_is_sharp_and_the_mean_of_the_third_to_the_last_is_blurry():
    frames = torch.cat([torch.full((1, 3, 4, 4), level) for level in (0.1, 0.9, 0.2, 0.4)])
    sharp, blurry = first_and_mean(frames)
    assert torch.equal(sharp, frames[:1])
    torch.testing.assert_close(blurry, torch.full((1, 3, 4, 4), 0.3))
    _, in_light = first_and_mean(frames, 2.2)
    torch.testing.assert_close(in_light, torch.full((1, 3, 4, 4), ((0.2**2.2 + 0.4**2.2) / 2) ** (1 / 2.2)))


@pytest.mark.parametrize("kind", ["photos", "pairs", "frames"])
def test_samples_of_each_source_brighten_to_the_sharp_picture(kind):
    observations = PairObservations(side=64, instants=8, frames=5, still=1, aligned=1, sigma=(0.01, 0.01), published=0)
    area = observations.recipe().area
    sharp = structured_picture(area, area, 3)[0]
    sample = {
        "photos": {"sharp": sharp},
        "pairs": {"sharp": sharp, "blurry": sharp},
        "frames": {"frames": sharp.expand(5, -1, -1, -1)},
    }[kind]
    made = observe_pair(sample, observations, seeded(0))
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == {
        **dict.fromkeys(("blurry", "noisy", "sharp"), (3, 64, 64)),
        "ratio": (3, 1, 1),
    }
    blurry, noisy = shots({name: tensor[None] for name, tensor in made.items()})
    truth = made["sharp"][None]
    assert psnr(made["noisy"][None], truth) + 5 < psnr(noisy, truth) and psnr(blurry, truth) > 35
    again = observe_pair(sample, observations, seeded(0))
    assert all(torch.equal(made[name], again[name]) for name in made)


def test_a_range_the_wrong_way_round_is_an_error():
    with pytest.raises(UnblurError, match=r"sigma is a smallest and a largest value, and 0.2 is above 0.1"):
        checked(PairObservations, {"sigma": (0.2, 0.1)}, "recipe")


def test_resampled_noise_is_that_of_a_picture_moved_by_the_registration():
    white = torch.randn(1, 3, 128, 160, generator=seeded(0))
    one, again, other = (resampled(white, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.shape == white.shape
    for noise in (one, other):
        neighbours = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
        assert 0.8 < noise.std() < 0.95, "values between pixels are means"
        assert 0.05 < neighbours < 0.3, "neighbours share the pixels that they are means of"


def test_a_resampled_short_shot_shows_the_same_scene_with_less_noise():
    recipe = replace(CLEAN, still=1, aligned=1, sigma=(0.1, 0.1), demosaicked=0)
    plain, moved = (pair(photo(recipe), replace(recipe, resampled=share), seeded(4)) for share in (0, 1))
    assert torch.equal(plain.sharp, moved.sharp) and torch.equal(plain.blurry, moved.blurry)
    errors = [(made.noisy - made.sharp).square().mean().sqrt() for made in (plain, moved)]
    assert 0.6 * errors[0] < errors[1] < 0.95 * errors[0]
    clear = replace(recipe, sigma=(0, 0), resampled=1)
    made = pair(photo(clear), clear, seeded(4))
    torch.testing.assert_close(made.noisy, made.sharp, atol=0.51 / 255, rtol=0)
