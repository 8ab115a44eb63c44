"""A PSF and a picture from a noisy and a blurry shot: each step of Yuan et al. against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from helpers import blurred_scene, hook_psf
from unblur import methods
from unblur.imaging.exposure import brightened
from unblur.imaging.psf import pad_psf
from unblur.layers.bilateral import bilateral_filter
from unblur.methods.pair_psf import detail_layer, gain_map
from unblur.metrics import kernel_similarity, psnr
from unblur.types import Observation, Restoration

PAIR_PSF = methods.get("pair_psf")


def pair(sigma: float = 0.06, channels: int = 1, shift: tuple[int, int] = (0, 0)) -> tuple[Observation, torch.Tensor]:
    """A pair whose long shot is blurred by the hook and shifted, with the sharp picture."""
    scene = blurred_scene(120, 132, channels, sigma=0.005)
    blurry = scene.blurry.roll(shift, (-2, -1))
    noise = torch.randn(scene.sharp.shape, generator=torch.Generator().manual_seed(3))
    inside = (..., slice(8, -8), slice(8, -8))
    return Observation(blurry=blurry[inside], noisy=(scene.sharp + sigma * noise)[inside]), scene.sharp[inside]


def restored(observation: Observation, **settings: float | str) -> Restoration:
    return PAIR_PSF(observation, settings)


def test_the_result_is_better_than_the_long_shot_and_than_the_denoised_short_one():
    observation, sharp = pair(0.1)
    result = restored(observation)
    before = [psnr(picture, sharp) for picture in (observation.blurry, observation.noisy, result.stages["denoised"])]
    assert psnr(result.image, sharp) > max(before) + 1


def test_a_shifted_long_shot_is_restored_in_the_place_of_the_short_one():
    shift = (5, -6)
    observation, sharp = pair(shift=shift)
    result = restored(observation)
    assert psnr(result.image, sharp) > psnr(result.stages["denoised"], sharp) + 0.5
    moved = pad_psf(hook_psf(), 33).roll(shift, (0, 1))
    found = pad_psf(result.psf[0, 0], 33)
    assert kernel_similarity(found[None, None], moved[None, None]) > 0.9
    assert float((found * moved).sum()) > 0.8 * float(moved.square().sum()), "in its place, not centred"


def test_all_channels_share_one_psf():
    observation, sharp = pair(channels=3)
    result = restored(observation)
    assert result.psf.shape[:2] == (1, 1)
    assert (
        ((result.image - sharp) ** 2).mean((0, 2, 3)) < ((observation.noisy - sharp) ** 2).mean((0, 2, 3)) / 2
    ).all()


def test_the_exposure_ratio_brightens_the_short_shot():
    observation, _ = pair()
    dark = brightened(observation.noisy.clamp(0, 1), 1 / 4)
    given = restored(Observation(blurry=observation.blurry, noisy=dark, exposure_ratio=4.0))
    plain = restored(Observation(blurry=observation.blurry, noisy=observation.noisy.clamp(0, 1)))
    torch.testing.assert_close(given.image, plain.image, atol=1e-3, rtol=0)


def test_saturated_pixels_of_the_long_shot_are_not_fitted():
    """Lights at 3 times white, clipped in both shots: masked, they leave no dark rings."""
    observation, sharp = pair(0.02)
    for picture in (observation.blurry, observation.noisy):
        picture[..., 40:60, 40:60] = 1.0
    beyond = restored(observation).image[..., 30:70, 30:70]
    assert float(beyond.min()) > float(sharp[..., 30:70, 30:70].min()) - 0.15


def test_the_preset_of_the_paper_is_sharper_and_keeps_more_noise():
    observation, sharp = pair()
    paper, default = (restored(observation, **preset).image for preset in ({"preset": "paper"}, {}))
    assert (paper - sharp).diff(dim=-1).std() > (default - sharp).diff(dim=-1).std()


def gains_by_the_formula(picture: torch.Tensor, alpha: float) -> torch.Tensor:
    """Eq. 8 pixel by pixel, with one level."""
    height, width = picture.shape[-2:]
    gains = torch.empty(1, 1, height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            magnitudes = []
            for plane in picture[0].double():
                dx = plane[y, min(x + 1, width - 1)] - plane[y, x]
                dy = plane[min(y + 1, height - 1), x] - plane[y, x]
                magnitudes.append(math.hypot(dx, dy))
            gains[0, 0, y, x] = min(1 - alpha + alpha * sum(magnitudes) / len(magnitudes), 1)
    return gains


def test_the_gains_are_those_of_the_formula(monkeypatch):
    monkeypatch.setattr("unblur.methods.pair_psf._LEVELS", 1)
    picture = torch.rand(1, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gain_map(picture, 0.3).double(), gains_by_the_formula(picture, 0.3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (64, 48)])
def test_gains_are_largest_at_edges_and_never_above_one(size):
    picture = torch.zeros(1, 3, *size)
    assert torch.equal(gain_map(picture, 0.25), torch.full((1, 1, *size), 0.75))
    picture[..., size[1] // 2 :] = 1.0
    gains = gain_map(picture, 0.25)
    assert gains.max() <= 1 and gains.min() >= 0.75
    assert torch.equal(gain_map(picture, 0.0), torch.ones(1, 1, *size))


def test_the_detail_layer_is_what_the_joint_bilateral_filter_leaves():
    generator = torch.Generator().manual_seed(0)
    sharp, smooth = (torch.rand(1, 1, 12, 13, generator=generator, dtype=torch.float64) for _ in range(2))
    total = torch.zeros_like(sharp)
    for y in range(12):
        for x in range(13):
            weighted, weights = 0.0, 0.0
            for dy in range(-4, 5):
                for dx in range(-4, 5):
                    other = smooth[0, 0, min(max(y + dy, 0), 11), min(max(x + dx, 0), 12)]
                    unlike = (sharp[0, 0, y, x] - other) ** 2 / 0.08**2
                    weight = math.exp(-(unlike + (dy**2 + dx**2) / 1.6**2) / 2)
                    weighted, weights = weighted + weight * other, weights + weight
            total[0, 0, y, x] = weighted / weights
    torch.testing.assert_close(detail_layer(sharp, smooth), sharp - total)


def test_a_guide_that_is_the_picture_makes_the_plain_bilateral_filter():
    picture = torch.rand(1, 3, 12, 13, generator=torch.Generator().manual_seed(0))
    assert torch.equal(bilateral_filter(picture, guide=picture), bilateral_filter(picture))
