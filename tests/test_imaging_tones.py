"""The tones of one shot are fitted to those of another; what moved or is clipped does not mislead it."""

from __future__ import annotations

import pytest
import torch

from helpers import hook_psf, observe, structured_picture
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.synthesis.camera import to_linear, to_srgb
from unblur.imaging.tones import match_tones

SHARP = structured_picture(248, 330, 3)
TINT = torch.tensor([0.25, 0.12, 0.2]).view(1, 3, 1, 1)


def dark(picture, exponent=1.15):
    return to_srgb(to_linear(picture) * TINT).clamp(0, 1) ** exponent


def error(curves, picture):
    return float((curves(dark(picture)) - picture).abs().mean())


def test_gain_tint_and_contrast_are_undone_although_one_shot_is_blurred_and_the_other_noisy():
    scene = observe(SHARP, hook_psf())
    noise = torch.randn(scene.sharp.shape, generator=torch.Generator().manual_seed(0))
    short = (dark(scene.sharp) + 0.02 * noise).clamp(0, 1)
    with_gain_alone = brightened(dark(scene.sharp), exposure_ratio(scene.blurry, short))
    worse = float((with_gain_alone - scene.sharp).abs().mean())
    assert error(match_tones(short, scene.blurry), scene.sharp) < min(0.012, 0.7 * worse)


def test_something_that_moved_does_not_mislead_it():
    long = SHARP.clone()
    long[..., 20:120, 30:150] = structured_picture(100, 120, 3, seed=7).flip(1)
    assert error(match_tones(dark(SHARP), long), SHARP) < 0.01


def test_lights_that_are_clipped_in_the_long_shot_do_not_mislead_it():
    light = 1.6 * SHARP
    clipped = light >= 1
    assert clipped.float().mean() > 0.2
    matched = match_tones(dark(SHARP), light.clamp(0, 1))(dark(SHARP))
    assert (matched - light)[~clipped].abs().mean() < 0.02 and (matched[clipped] > 0.9).float().mean() > 0.9


def test_equal_pictures_stay_equal():
    curves = match_tones(SHARP, SHARP)
    assert (curves(SHARP) - SHARP).abs().max() < 0.004
    torch.testing.assert_close(curves.gain, torch.ones(3), atol=0.01, rtol=0)


def test_the_gain_is_that_of_linear_light():
    curves = match_tones(dark(SHARP, exponent=1.0), SHARP)
    torch.testing.assert_close(curves.gain, 1 / TINT.flatten(), rtol=0.05, atol=0)


def test_hidden_parts_do_not_count():
    source, shown = dark(SHARP), torch.ones(1, 1, 248, 330, dtype=torch.bool)
    source[..., :200], shown[..., :200] = 0.5, False
    assert error(match_tones(source, SHARP, shown), SHARP) < 0.01


@pytest.mark.parametrize("size", [(8, 8), (40, 30)])
def test_curves_never_fall_and_stay_in_range(size):
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    for source, target in ((noise, noise.flip(-1)), (noise, noise * 0), (noise * 0, noise), (noise * 0 + 1, noise)):
        table = match_tones(source, target).table
        assert torch.isfinite(table).all() and (table.diff() >= 0).all()
        assert table.min() >= 0 and table.max() <= 1
