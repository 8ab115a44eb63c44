"""What a camera does to light: how large its noise is and where, how it is correlated, what JPEG makes of a picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import structured_picture
from unblur.imaging.synthesis.camera import (
    CameraRecipe,
    add_linear_noise,
    demosaicked,
    photograph,
    to_linear,
    to_srgb,
)
from unblur.imaging.synthesis.jpeg import jpeg

NO, YES = torch.zeros(1, 1, 1, 1, dtype=torch.bool), torch.ones(1, 1, 1, 1, dtype=torch.bool)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def number(value):
    return torch.full((1, 1, 1, 1), value)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def test_linear_light_and_srgb_are_those_of_the_standard():
    values = torch.tensor([0.0, 0.04, 0.2, 0.5, 1.0], dtype=torch.float64)
    slow = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values.tolist()]
    torch.testing.assert_close(to_linear(values), torch.tensor(slow, dtype=torch.float64))
    torch.testing.assert_close(to_srgb(to_linear(values)), values)


@pytest.mark.parametrize("photons", [0.0, 0.4, 1.0])
def test_the_variance_rises_with_brightness_in_linear_light(photons):
    """`a x + b`, in the ratio at middle grey that was asked for, on steps from dark to bright."""
    steps = torch.linspace(0.1, 0.9, 9)
    pictures = steps.view(1, 1, 1, 9).expand(1, 3, 20_000, 9)
    noisy = add_linear_noise(pictures, number(0.02), number(photons), normal(1, 3, 20_000, 9), NO)
    light = to_linear(steps)
    measured = to_linear(noisy).var((0, 1, 2))
    grey = ((0.5 + 0.055) / 1.055) ** 2.4
    total = float(measured[4])  # at middle grey
    expected = total * (photons * light / grey + 1 - photons)
    torch.testing.assert_close(measured, expected, rtol=0.03, atol=0)
    assert float(noisy[..., 4].std()) == pytest.approx(0.02, rel=0.02), "sigma is that of the sRGB value 0.5"


def slow_demosaicking(mosaic):
    """Bilinear, one value at a time: the mean of the nearest pixels that have the channel. `(3, H, W)` float64."""
    channels, height, width = mosaic.shape
    made = np.zeros(mosaic.shape)
    for channel in range(channels):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                has = lambda v, u, c=channel: (v % 2 + u % 2) == c  # noqa: E731  0 red, 1 green, 2 blue
                near = [(y, x)] if has(y, x) else [(y, x - 1), (y, x + 1), (y - 1, x), (y + 1, x)]
                near = [place for place in near if has(*place)]
                if not near:
                    near = [(v, u) for v in (y - 1, y + 1) for u in (x - 1, x + 1)]
                made[channel, y, x] = np.mean([mosaic[channel, v, u] for v, u in near])
    return made


def test_demosaicking_is_bilinear():
    noise = normal(1, 3, 10, 13).double()
    expected = slow_demosaicking(noise[0].numpy())
    torch.testing.assert_close(demosaicked(noise)[0, :, 1:-1, 1:-1], torch.from_numpy(expected)[:, 1:-1, 1:-1])


def test_demosaicked_noise_of_neighbouring_pixels_is_correlated():
    """By how much follows from the weights: `cov = sum of w(p) w(p + 1)`, averaged over the four kinds of pixels."""
    made = demosaicked(normal(1, 3, 400, 400, seed=3))[0, :, 1:-1, 1:-1]
    variance = made.var((1, 2))
    torch.testing.assert_close(variance, torch.tensor([0.5625, 0.625, 0.5625]), rtol=0.03, atol=0)
    beside = (made[..., 1:] * made[..., :-1]).mean((1, 2))
    # Green: a measured pixel has weight 1/4 in its neighbour. Red: 1/2 in measured rows, 1/4 between them.
    torch.testing.assert_close(beside, torch.tensor([0.375, 0.25, 0.375]), rtol=0.05, atol=0)


def test_demosaicking_changes_the_noise_and_not_the_picture():
    picture = structured_picture(32, 32, 3)
    taken = add_linear_noise(picture, number(0.0), number(0.5), normal(1, 3, 32, 32), YES)
    torch.testing.assert_close(taken, picture, atol=1e-5, rtol=0)


def test_plain_noise_is_white_and_of_one_of_the_levels():
    flat = torch.full((40, 3, 32, 32), 0.5)
    noise = photograph(flat, CameraRecipe(plain=1.0, sigmas=(10.0, 40.0), clipped=0.0), generator()) - 0.5
    levels = noise.std((1, 2, 3)) * 255
    near = torch.stack([(levels / level - 1).abs() < 0.1 for level in (10, 40)])
    assert near.any(0).all() and near.any(1).all()
    assert (noise[..., 1:] * noise[..., :-1]).mean().abs() < 0.02 * noise.var()


def test_other_noise_is_of_all_levels_and_weak_noise_more_frequent_with_a_higher_skew():
    flat = torch.full((200, 3, 16, 16), 0.5)
    medians = []
    for skew in (1.0, 3.0):
        recipe = CameraRecipe(sigma=50.0, skew=skew, photons=0.0, demosaicked=0.0, clipped=0.0, jpeg=0.0)
        levels = (photograph(flat, recipe, generator()) - 0.5).std((1, 2, 3)) * 255
        assert levels.min() < 5 and levels.max() > 40
        medians.append(float(levels.median()))
    assert medians == pytest.approx([25, 25 / 4], rel=0.3)


@pytest.mark.parametrize(
    "changed",
    [
        {"plain": 1.0},
        {"photons": 1.0},
        {"demosaicked": 1.0},
        {"clipped": 1.0},
        {"jpeg": 1.0},
        {"jpeg": 1.0, "quality": (20.0, 20.0)},
        {"sigma": 10.0},
        {"skew": 2.0},
    ],
)
def test_each_part_of_the_recipe_changes_the_picture(changed):
    quiet = {"sigma": 30.0, "photons": 0.0, "demosaicked": 0.0, "clipped": 0.0, "jpeg": 0.0}
    picture = structured_picture(24, 24, 3)
    plain, other = (photograph(picture, CameraRecipe(**values), generator()) for values in (quiet, quiet | changed))
    assert not torch.equal(plain, other)


def test_a_clipped_picture_has_eight_bits_and_one_that_is_not_leaves_the_range():
    picture = structured_picture(24, 24, 3)
    clipped = photograph(picture, CameraRecipe(plain=1.0, sigmas=(90.0,)), generator())
    assert clipped.min() == 0 and clipped.max() == 1
    torch.testing.assert_close(clipped * 255, (clipped * 255).round(), atol=1e-4, rtol=0)
    assert photograph(picture, CameraRecipe(plain=1.0, sigmas=(90.0,), clipped=0.0), generator()).min() < 0


def test_the_same_seed_gives_the_same_picture_and_the_input_is_not_changed():
    pictures = torch.cat([structured_picture(24, 24, 3, seed) for seed in range(4)])
    before = pictures.clone()
    first, same, other = (photograph(pictures, CameraRecipe(plain=0.5), generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other) and torch.equal(pictures, before)


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_is_what_pillow_makes_of_it(quality):
    picture = structured_picture(60, 77, 3)  # sides that are no multiples of 8
    levels = (picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality, subsampling=0)
    expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None] / 255
    made = jpeg(torch.from_numpy(levels).permute(2, 0, 1)[None] / 255, torch.tensor([float(quality)]))
    assert (made - expected).square().mean().sqrt() < 1.5 / 255
