"""The L0 pyramid: each of its parts, then the PSF it finds when the size is given."""

import itertools

import numpy as np
import pytest
import torch

from helpers import CountingProgress, blurred_scene, hook_psf, structured_picture
from unblur.imaging.convolution import convolve, psf_to_otf
from unblur.imaging.psf import delta_psf, gaussian_psf, pad_psf, psf_centroid
from unblur.metrics import kernel_similarity
from unblur.solvers.canvas import gradient, gradient_adjoint, gradient_power
from unblur.solvers.l0 import L0Search, Level, _enlarge, _start, odd_side, periodic_extension, revise_psf, search_psf
from unblur.types import Cancelled, Progress

# --- the pyramid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 5, 7, 15, 27, 61])
def test_scales_run_from_a_psf_of_a_few_pixels_to_full_size(size):
    scales = L0Search(size, 4e-3, 0.3, 5).scales()
    assert scales[-1] == 1
    assert scales == sorted(scales)
    assert 3 <= size * scales[0] < 9
    assert all(1.2 < fine / coarse < 2 for coarse, fine in itertools.pairwise(scales))


def test_odd_is_the_next_odd_number():
    assert [odd_side(x) for x in (3, 3.01, 4, 5, 5.5, 7)] == [3, 5, 5, 5, 7, 7]


@pytest.mark.parametrize("size", [3, 5, 9])
def test_the_start_is_a_psf_that_blurs_a_little(size):
    start = _start(size, torch.zeros(1))
    assert start.shape == (size, size) and start.min() >= 0
    assert float(start.sum()) == pytest.approx(1) and (start > 0).sum() > 1


@pytest.mark.parametrize(("small", "large"), [(7, 9), (9, 13), (9, 9)])
def test_an_enlarged_psf_keeps_its_light_its_shape_and_its_centre(small, large):
    psf = torch.zeros(small, small)
    psf[1 : small - 1, 1 : small - 1] = torch.rand(small - 2, small - 2, generator=torch.Generator().manual_seed(0))
    psf = psf / psf.sum()
    enlarged = _enlarge(psf, large)
    assert enlarged.shape == (large, large) and enlarged.min() >= 0
    assert float(enlarged.sum()) == pytest.approx(1)
    assert all(abs(c - large // 2) <= 0.51 for c in psf_centroid(enlarged))


def test_a_psf_off_its_middle_is_brought_back_when_enlarged():
    psf = torch.zeros(9, 9)
    psf[6, 1:4] = 1 / 3
    centre = psf_centroid(_enlarge(psf, 9))
    assert centre == pytest.approx((4, 4), abs=0.5)
    assert float(kernel_similarity(_enlarge(psf, 9), psf)) == pytest.approx(1, abs=1e-4)


# --- without a seam ---------------------------------------------------------------------------------


@pytest.mark.parametrize("reach", [1, 4, 9])
@pytest.mark.parametrize("size", [(30, 41), (33, 40)], ids=str)
def test_the_extended_picture_wraps_around_without_a_jump(size, reach):
    ramp = torch.linspace(0, 1, size[0])[:, None] + torch.linspace(0, 1, size[1])  # the largest jump there is
    seamless = periodic_extension(ramp[None, None], reach)
    height, width = seamless.shape[-2:]
    assert height >= size[0] + 2 * reach and width >= size[1] + 2 * reach
    assert torch.equal(seamless[0, 0, : size[0], : size[1]], ramp)
    steepest = gradient(seamless).abs().amax((1, 2, 3, 4))
    for step, gap in zip(steepest.tolist(), (width - size[1], height - size[0]), strict=True):
        assert step < 1.8 / (gap + 1), "a passage as long as the gap, 1.5 times as steep in its middle"
    assert seamless.min() >= ramp.min() and seamless.max() <= ramp.max()


def test_the_passage_begins_and_ends_level_with_the_picture():
    """Its first step, like its last, is a small one, so that no edge appears at the border."""
    picture = torch.zeros(1, 1, 40, 50)
    picture[..., 25:] = 1.0
    steps = gradient(periodic_extension(picture, 8))[0, 0, 0, 0].abs()[49:]
    assert steps[0] < 0.5 * steps.max() and steps[-1] < 0.5 * steps.max()
    assert float(steps.sum()) == pytest.approx(1, abs=1e-5)


# --- the sharp guess --------------------------------------------------------------------------------


def test_with_a_delta_psf_the_guess_is_the_pictures_large_edges_and_nothing_else():
    """Xu et al. 2011, image smoothing: noise goes, edges stay where they are and as high as they are."""
    picture = torch.full((1, 1, 48, 56), 0.3)
    picture[..., 16:32, 20:40] = 0.8
    noisy = picture + 0.01 * torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    edges = Level.of(noisy, 3).sharpen(delta_psf(3), 4e-3)[:, :47, :55]
    true = gradient(picture)[:, 0, 0, :47, :55]
    assert (edges - true).abs().max() < 0.05
    assert edges[true == 0].abs().max() < 0.02


def test_the_guess_is_that_of_the_published_steps():
    """Xu et al. 2011, Algorithm 1, step by step: a gradient is kept or becomes 0, then the picture is solved."""
    blurry, weight = blurred_scene(40, 47).blurry.double(), 2e-3
    psf = hook_psf().double()
    level = Level.of(blurry, 11)
    sharp = start = periodic_extension(blurry, 6)
    otf = psf_to_otf(psf, start.shape[-2:])
    beta = 2 * weight
    while beta < 1e3:
        field = gradient(sharp)
        field = torch.where(field.square().sum(0, keepdim=True) >= weight / beta, field, 0.0)
        right = otf.conj() * torch.fft.rfft2(start) + beta * torch.fft.rfft2(gradient_adjoint(field))
        left = otf.abs().square() + beta * gradient_power((start.shape[-2], start.shape[-1]), start)
        sharp = torch.fft.irfft2(right / left, s=start.shape[-2:])
        beta *= 2
    expected = gradient(sharp)[:, 0, 0] * level.inside
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(level.sharpen(psf, weight), expected, rtol=0, atol=1e-12)
    assert torch.equal(level.start, start), "the picture itself is kept"


def test_the_guess_undoes_the_blur():
    scene = blurred_scene(64, 72, sigma=0.0)
    guess = Level.of(scene.blurry, 11).sharpen(hook_psf(), 2e-3)[:, 8:56, 8:64]
    wrong = Level.of(scene.blurry, 11).sharpen(hook_psf().flip(0, 1), 2e-3)[:, 8:56, 8:64]
    true, blurry = (gradient(picture)[:, 0, 0, 8:56, 8:64] for picture in (scene.sharp, scene.blurry))
    error, before, flipped = (float((g - true).square().mean()) for g in (guess, blurry, wrong))
    assert error < 0.5 * before and error < 0.3 * flipped


def test_a_higher_weight_keeps_fewer_edges():
    level = Level.of(blurred_scene(64, 72).blurry, 11)
    kept = [int((level.sharpen(hook_psf(), w).square().sum(0) > 0.01).sum()) for w in (1e-4, 1e-3, 1e-2, 0.1)]
    assert kept == sorted(kept, reverse=True) and kept[0] > 2 * kept[2] > 4 * kept[3]


def test_gradients_across_the_pictures_own_border_are_not_believed():
    level = Level.of(structured_picture(30, 41), 7)
    for field in (level.blurry_gradient, level.sharpen(delta_psf(7), 2e-3)):
        assert not field[:, 29:].any() and not field[:, :, 40:].any()
        assert field[:, 1:29, 1:40].any()


# --- the search -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [11, 15, 23])
def test_the_search_finds_an_asymmetric_psf_of_a_given_size(size):
    scene = blurred_scene(180, 196, sigma=0.003)
    psf = search_psf(scene.blurry, L0Search(size, 4e-3, 0.3, 5), Progress())
    assert max(psf.shape) <= size and all(side % 2 for side in psf.shape)
    assert psf.min() >= 0 and float(psf.sum()) == pytest.approx(1, abs=1e-5)
    likeness = float(kernel_similarity(psf, scene.psf))
    assert likeness > 0.8 and likeness > float(kernel_similarity(psf, scene.psf.flip(-2, -1))) + 0.03


def test_the_psf_found_reblurs_the_sharp_picture_as_it_was_blurred():
    """The estimate's use: a likeness of outlines alone would pass for a PSF that is shifted or smeared."""
    scene = blurred_scene(180, 196, sigma=0.003)
    psf = search_psf(scene.blurry, L0Search(15, 4e-3, 0.3, 5), Progress())
    reach = psf.shape[-1] // 2
    seen = convolve(scene.sharp, psf, "valid")
    errors = [
        float((seen - scene.blurry.roll((dy, dx), (-2, -1))[..., reach:-reach, reach:-reach]).square().mean())
        for dy in range(-4, 5)
        for dx in range(-4, 5)  # a PSF's place is free
    ]
    unblurred = float((scene.sharp - scene.blurry).square().mean())
    assert min(errors) < 0.2 * unblurred


def test_a_psf_that_is_nearly_right_is_revised_towards_the_true_one():
    scene = blurred_scene(180, 196, sigma=0.003)
    true = pad_psf(scene.psf[0, 0], 15)
    smeared = convolve(true[None, None], gaussian_psf(1.0), "zero")[0, 0].clamp_min(0)
    revised = revise_psf(scene.blurry, smeared / smeared.sum(), 0.3)
    assert revised.shape == true.shape and float(revised.sum()) == pytest.approx(1, abs=1e-5)
    assert kernel_similarity(revised, true) > kernel_similarity(smeared, true) + 0.02


def test_progress_advances_once_per_level_and_cancels_between_them():
    search = L0Search(15, 4e-3, 0.3, 1)
    progress = CountingProgress()
    progress.stage("searching", len(search.scales()))
    search_psf(blurred_scene(64, 72).blurry, search, progress)
    assert progress.done == [len(search.scales())]
    progress = CountingProgress(cancel_at=2)
    progress.stage("searching", len(search.scales()))
    with pytest.raises(Cancelled):
        search_psf(blurred_scene(64, 72).blurry, search, progress)


def test_the_search_is_deterministic():
    blurry = blurred_scene(64, 72).blurry
    first, second = (search_psf(blurry, L0Search(15, 4e-3, 0.3, 3), Progress()) for _ in range(2))
    assert np.array_equal(first.numpy(), second.numpy())
