"""Added noise has the variance its law says, and the estimator finds it again in one picture."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from helpers import blurred_scene, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import (
    add_gaussian_noise,
    add_poisson_gaussian_noise,
    add_poisson_noise,
    estimate_noise_of_short_shot,
    estimate_noise_sigma,
    estimate_noise_under_blur,
    quantise,
)
from unblur.imaging.psf import gaussian_psf


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(height: int = 180, width: int = 240) -> Tensor:
    """A picture with sky, edges, a patch of strong texture, crushed black and a blown light: (1, 3, H, W)."""
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    x = torch.linspace(0, 1, width)[None, :].expand(height, width)
    picture = 0.35 + 0.3 * y * x
    picture = torch.where((x - 0.3) ** 2 + (y - 0.4) ** 2 < 0.03, 0.2 + 0.3 * x, picture)
    grass = 0.5 + 0.25 * torch.rand(height, width, generator=seeded(1))
    picture = torch.where((y > 0.6) & (x > 0.2), grass, picture)
    picture = torch.where((x > 0.75) & (y < 0.25), torch.ones(()), picture)
    picture = torch.where((x < 0.15) & (y > 0.7), torch.zeros(()), picture)
    return torch.stack([picture, 0.9 * picture, 0.1 + 0.8 * picture])[None]


def measured(picture: Tensor) -> float:
    return float(estimate_noise_sigma(picture)) * 255


@pytest.mark.parametrize(
    ("add", "variance"),
    [
        (lambda flat: add_gaussian_noise(flat, 0.05, seeded()), 0.05**2),
        (lambda flat: add_poisson_noise(flat, 200.0, seeded()), 0.4 / 200),
        (lambda flat: add_poisson_gaussian_noise(flat, 200.0, 0.05, seeded()), 0.4 / 200 + 0.05**2),
    ],
)
def test_added_noise_keeps_the_mean_and_has_the_stated_variance(add, variance: float) -> None:
    flat = torch.full((1, 3, 200, 200), 0.4)
    noisy = add(flat)
    assert noisy.mean().item() == pytest.approx(0.4, abs=1e-3)
    assert noisy.var().item() == pytest.approx(variance, rel=0.02)
    assert torch.equal(flat, torch.full((1, 3, 200, 200), 0.4)), "the input is left alone"
    assert torch.equal(noisy, add(flat)), "same seed, same noise"


def test_noise_is_independent_between_channels_and_neighbours() -> None:
    noise = add_gaussian_noise(torch.zeros(1, 3, 200, 200), 1.0, seeded())
    assert (noise[:, 0] * noise[:, 1]).mean().abs() < 0.02
    assert (noise[..., 1:] * noise[..., :-1]).mean().abs() < 0.02


def test_nothing_is_clipped_unless_asked() -> None:
    edges = torch.tensor([0.0, 1.0]).repeat(500)
    for noisy in (
        lambda clip: add_gaussian_noise(edges, 0.1, seeded(), clip=clip),
        lambda clip: add_poisson_gaussian_noise(edges, 50.0, 0.1, seeded(), clip=clip),
        lambda clip: quantise(3 * edges - 1, clip=clip),
    ):
        assert noisy(False).min() < 0
        assert noisy(False).max() > 1
        assert noisy(True).min() == 0
        assert noisy(True).max() == 1
    assert add_poisson_noise(edges, 50.0, seeded()).max() > 1
    assert add_poisson_noise(edges, 50.0, seeded(), clip=True).max() == 1


def test_quantising_rounds_to_the_nearest_level() -> None:
    levels = quantise(torch.tensor([0.0, 0.4, 0.51, 1.0]) / 255)
    torch.testing.assert_close(levels * 255, torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert len(torch.unique(quantise(torch.rand(1000, generator=seeded()), bits=2))) == 4


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize("level", [2, 5, 10, 20, 40])
def test_estimate_finds_the_noise_that_was_added(level: int, as_file: bool) -> None:
    noisy = add_gaussian_noise(scene(), level / 255, seeded(level))
    if as_file:
        noisy = quantise(noisy, clip=True)
    assert measured(noisy) == pytest.approx(level, abs=max(0.5, 0.05 * level))


@pytest.mark.parametrize("brightness", [0.0, 0.05, 0.5, 0.97])
def test_clipped_noise_is_not_underestimated(brightness: float) -> None:
    """At a brightness of 0 half of the noise is cut off, and the file's own deviation is 0.58 sigma."""
    flat = torch.full((1, 1, 120, 120), brightness)
    noisy = quantise(add_gaussian_noise(flat, 20 / 255, seeded(3), clip=True))
    assert measured(noisy) == pytest.approx(20, rel=0.15)


def test_blown_out_and_bordered_parts_do_not_hide_the_noise() -> None:
    noisy = quantise(add_gaussian_noise(scene(), 15 / 255, seeded(4)), clip=True)
    noisy[..., :75] = 0.6
    noisy[..., 190:] = 1.0
    assert measured(noisy) == pytest.approx(15, rel=0.1)


def test_blur_under_the_noise_changes_nothing() -> None:
    smooth = torch.nn.functional.avg_pool2d(scene(), 9, stride=1)
    assert measured(add_gaussian_noise(smooth, 8 / 255, seeded(5))) == pytest.approx(8, rel=0.05)


def test_pictures_without_noise_measure_nothing() -> None:
    assert measured(torch.full((1, 3, 64, 64), 0.3)) == 0
    assert measured(quantise(scene())) < 1
    drawing = torch.ones(1, 1, 120, 120)
    drawing[..., ::12, :] = 0
    drawing[..., 30:60, 40:45] = 0.2
    assert measured(drawing) == 0


@pytest.mark.parametrize(("size", "tolerance"), [((37, 53), 0.15), ((9, 9), 0.5), ((8, 8), 0.6)])
def test_tiny_pictures_get_a_rough_answer(size: tuple[int, int], tolerance: float) -> None:
    noisy = add_gaussian_noise(torch.full((1, 3, *size), 0.5), 12 / 255, seeded(6))
    assert measured(noisy) == pytest.approx(12, rel=tolerance)


def test_each_picture_of_a_batch_is_measured_by_itself() -> None:
    calm, wild = (add_gaussian_noise(scene(), level / 255, seeded(level)) for level in (5, 25))
    both = estimate_noise_sigma(torch.cat([calm, wild]))
    assert both.shape == (2,)
    torch.testing.assert_close(both, torch.cat([estimate_noise_sigma(calm), estimate_noise_sigma(wild)]))


def test_channels_are_combined_by_their_mean_variance() -> None:
    flat = torch.full((1, 1, 120, 120), 0.5)
    channels = torch.cat([add_gaussian_noise(flat, level / 255, seeded(level)) for level in (3, 4, 12)], 1)
    assert measured(channels) == pytest.approx(((9 + 16 + 144) / 3) ** 0.5, rel=0.03)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda image: add_gaussian_noise(image, -0.1, seeded()), "cannot be negative"),
        (lambda image: add_poisson_noise(image, 0.0, seeded()), "above 0"),
        (lambda image: quantise(image, bits=0), "1 to 16"),
        (lambda image: estimate_noise_sigma(image[0]), r"\(B, C, H, W\)"),
        (lambda image: estimate_noise_sigma(image[..., :7]), "at least 8 px"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(torch.full((1, 3, 16, 16), 0.5))


@pytest.mark.parametrize(("sigma", "quality"), [(0.005, 92), (0.02, 85)])
def test_noise_that_jpeg_hid_is_found_under_blur(sigma, quality):
    sharp = structured_picture(256, 256, seed=2)
    blurry = convolve(sharp, gaussian_psf(3.0))
    noisy = add_gaussian_noise(blurry, sigma, torch.Generator().manual_seed(0), clip=True)
    levels = (noisy[0, 0] * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    compressed = torch.from_numpy(np.asarray(Image.open(file), np.float32) / 255)[None, None]
    assert float(estimate_noise_sigma(compressed)) < 0.85 * sigma
    assert float(estimate_noise_under_blur(compressed)) == pytest.approx(sigma, rel=0.25)
    assert float(estimate_noise_under_blur(noisy)) == pytest.approx(sigma, rel=0.15)


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_the_noise_of_a_short_shot_is_measured_with_the_long_one(sigma, correlated):
    """Resampling correlates noise, which hides it from an estimate at the finest frequencies."""
    scene = blurred_scene(120, 140, 3, sigma=0.002)
    noise = torch.randn(1, 3, 121, 141, generator=torch.Generator().manual_seed(0))
    noise = (noise[..., 1:, 1:] + noise[..., :-1, :-1]) / 2**0.5 if correlated else noise[..., 1:, 1:]
    estimate = estimate_noise_of_short_shot(scene.sharp + sigma * noise, scene.blurry)
    assert estimate.shape == (1,) and float(estimate) == pytest.approx(sigma, rel=0.2)


def test_white_areas_in_which_the_noise_is_clipped_do_not_count():
    scene = blurred_scene(120, 140, 3, sigma=0.002)
    sharp, blurry = scene.sharp.clone(), scene.blurry.clone()
    sharp[..., :70] = blurry[..., :70] = 1.0
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    estimate = estimate_noise_of_short_shot((sharp + 0.1 * noise).clamp(0, 1), blurry)
    assert float(estimate) == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (64, 48)], ids=str)
def test_equal_flat_shots_have_no_noise(size):
    flat = torch.full((2, 3, *size), 0.5)
    assert torch.equal(estimate_noise_of_short_shot(flat, flat), torch.zeros(2))
