"""The PSF that explains a blurry picture: against dense least squares, and its housekeeping."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from helpers import hook_psf, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf, psf_centroid
from unblur.metrics import kernel_similarity
from unblur.solvers.canvas import Canvas, gradient
from unblur.solvers.psf_fit import correct_psf, fit_psf, prune, salient, tidy

# --- fitting --------------------------------------------------------------------------------------


def flat_start(h: int, w: int) -> torch.Tensor:
    return torch.full((h, w), 1 / (h * w), dtype=torch.float64)


def dense_fit(sharp: torch.Tensor, blurry: torch.Tensor, size: tuple[int, int], smoothness: float) -> np.ndarray:
    """`argmin_{k >= 0} |sharp * k - blurry|^2 + smoothness |sharp|^2 |k|^2`, by Lawson and Hanson."""
    h, w = size
    columns = [
        np.roll(sharp.numpy(), (i - h // 2, j - w // 2), (1, 2)).ravel()  # what a PSF of that one pixel gives
        for i in range(h)
        for j in range(w)
    ]
    ridge = np.sqrt(smoothness * sharp.square().sum().item()) * np.eye(h * w)
    left = np.vstack((np.stack(columns, 1), ridge))
    k = nnls(left, np.concatenate((blurry.numpy().ravel(), np.zeros(h * w))))[0]
    return k.reshape(h, w) / k.sum()


@pytest.mark.parametrize("smoothness", [0.01, 0.3])
@pytest.mark.parametrize("size", [(5, 5), (3, 7), (7, 3)], ids=str)
@pytest.mark.parametrize("picture", [(24, 31), (25, 30)], ids=str)
def test_the_fit_is_the_dense_non_negative_least_squares_solution(size, picture, smoothness):
    generator = torch.Generator().manual_seed(0)
    sharp = torch.randn(2, *picture, generator=generator, dtype=torch.float64)
    true = torch.rand(size, generator=generator, dtype=torch.float64) * torch.linspace(0, 2, size[1])
    true[1:, 0] = 0
    blurry = convolve(sharp[None], true / true.sum(), "circular")[0]
    blurry = blurry + 0.2 * torch.randn(blurry.shape, generator=generator, dtype=torch.float64)
    expected = dense_fit(sharp, blurry, size, smoothness)
    assert (expected == 0).any(), "the constraint is at work"
    fitted = fit_psf(sharp, blurry, flat_start(*size), smoothness)
    np.testing.assert_allclose(fitted.numpy(), expected, atol=1e-6)


def test_gradients_of_a_picture_are_fitted_as_well():
    """Neighbouring columns are alike here, so it takes its time: close, not exact."""
    sharp = gradient(structured_picture(40, 47).double())[:, 0, 0]
    blurry = convolve(sharp[None], hook_psf().double(), "circular")[0]
    expected = dense_fit(sharp, blurry, (9, 11), 0.05)
    fitted = fit_psf(sharp, blurry, flat_start(9, 11), 0.05)
    np.testing.assert_allclose(fitted.numpy(), expected, atol=4e-3)


@pytest.mark.parametrize("size", [(9, 11), (11, 15)], ids=str)
def test_true_gradients_give_the_true_asymmetric_psf_back(size):
    generator = torch.Generator().manual_seed(0)
    sharp = torch.randn(2, 64, 67, generator=generator, dtype=torch.float64)
    psf = torch.nn.functional.pad(hook_psf().double(), [(size[1] - 11) // 2] * 2 + [(size[0] - 9) // 2] * 2)
    fitted = fit_psf(sharp, convolve(sharp[None], psf, "circular")[0], flat_start(*size), 0.0)
    torch.testing.assert_close(fitted, psf, rtol=0, atol=1e-6)


def test_the_fit_is_a_psf_and_neither_the_scale_of_the_gradients_nor_the_start_matters():
    generator = torch.Generator().manual_seed(0)
    sharp = torch.randn(2, 40, 41, generator=generator, dtype=torch.float64)
    blurry = convolve(sharp[None], hook_psf().double(), "circular")[0]
    delta = torch.zeros(9, 11, dtype=torch.float64)
    delta[4, 5] = 1
    first = fit_psf(sharp, blurry, flat_start(9, 11), 0.1)
    assert first.min() >= 0 and float(first.sum()) == pytest.approx(1)
    torch.testing.assert_close(fit_psf(sharp, blurry, delta, 0.1), first, rtol=0, atol=1e-5)
    torch.testing.assert_close(fit_psf(100 * sharp, blurry, delta, 0.1), first, rtol=0, atol=1e-5)
    torch.testing.assert_close(fit_psf(sharp, 100 * blurry, delta, 0.1), first, rtol=0, atol=1e-5)


def test_more_smoothness_spreads_the_psf():
    sharp = gradient(structured_picture(40, 47).double())[:, 0, 0]
    blurry = convolve(sharp[None], hook_psf().double(), "circular")[0]
    noise = torch.randn(blurry.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blurry = blurry + 0.02 * noise
    peaks = [float(fit_psf(sharp, blurry, flat_start(9, 11), s).max()) for s in (0.0, 0.05, 0.3, 3.0)]
    assert peaks == sorted(peaks, reverse=True) and peaks[-1] < 0.8 * peaks[0]


def test_nothing_to_learn_from_leaves_the_start():
    start = flat_start(5, 5)
    nothing = torch.zeros(2, 20, 20, dtype=torch.float64)
    fitted = fit_psf(nothing, torch.ones_like(nothing), start, 0.3)
    torch.testing.assert_close(fitted, start)


# --- correcting -------------------------------------------------------------------------------------


def dense_correction(sharp, blurry, psf, trusted, *, noise: float, psf_error: float, finest: float) -> torch.Tensor:
    """`k + G s u` with the `u` that minimises `|m (D y - D x * k - D x * G s u)|^2 / noise^2 + |u|^2`.

    Pictures `(H, W)` that are their own torus, and every operator a matrix; `m` is 1 where both pixels of a slope
    are `trusted`.
    """
    h, w = psf.shape
    slopes = [sharp.roll(-1, axis) - sharp for axis in (1, 0)]
    blur = torch.stack(  # of the slopes, by a PSF of one pixel each
        [
            torch.cat([s.roll((i - h // 2, j - w // 2), (0, 1)).flatten() for s in slopes])
            for i in range(h)
            for j in range(w)
        ],
        1,
    )
    pixels = torch.eye(h * w, dtype=torch.float64).reshape(-1, 1, h, w)
    smooth = convolve(pixels, gaussian_psf(finest).double(), "zero").flatten(1).T
    light = convolve(psf[None, None], gaussian_psf(1.0).double(), "zero").flatten()
    expected = psf_error * (0.02 / (h * w) + 0.98 * light / light.sum()).sqrt()
    m = torch.cat([(trusted * trusted.roll(-1, axis)).flatten() for axis in (1, 0)])
    design = m[:, None] * blur @ smooth @ torch.diag(expected) / noise
    target = torch.cat([(blurry.roll(-1, axis) - blurry).flatten() for axis in (1, 0)])
    left = m * (target - blur @ psf.flatten()) / noise
    u = torch.linalg.solve(design.T @ design + torch.eye(h * w, dtype=torch.float64), design.T @ left)
    corrected = (psf + (smooth @ (expected * u)).reshape(h, w)).clamp_min(0)
    return corrected / corrected.sum()


@pytest.mark.parametrize("finest", [0.4, 1.5])
@pytest.mark.parametrize("size", [(9, 11), (11, 9)], ids=str)
def test_a_correction_is_the_dense_least_squares_solution(size, finest):
    true = hook_psf().double() if size == (9, 11) else hook_psf().double().T.contiguous()
    sharp = structured_picture(32, 36).double()
    wrong = true * torch.linspace(0.5, 1.5, size[1])
    wrong = wrong / wrong.sum()
    blurry = convolve(sharp, true, "circular")
    canvas = Canvas.circular(blurry, wrong)
    noise, psf_error = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.01, 0.1))
    given = wrong[None, None]
    corrected = correct_psf(canvas, sharp, given, noise=noise, psf_error=psf_error, finest=finest, steps=300)[0, 0]
    everywhere = torch.ones_like(blurry[0, 0])
    expected = dense_correction(sharp[0, 0], blurry[0, 0], wrong, everywhere, noise=0.01, psf_error=0.1, finest=finest)
    torch.testing.assert_close(corrected, expected, rtol=0, atol=1e-6)
    usual = correct_psf(canvas, sharp, given, noise=noise, psf_error=psf_error, finest=finest)[0, 0]
    assert (usual - expected).norm() < 0.1 * (wrong - expected).norm(), "the usual steps are enough"


def test_with_a_third_of_the_picture_clipped_a_correction_is_nearly_the_dense_one():
    """Not quite: in the quadratic term every edge counts by two thirds, wherever it is."""
    true, sharp = hook_psf().double(), structured_picture(32, 36).double()
    wrong = true * torch.linspace(0.5, 1.5, 11)
    wrong = wrong / wrong.sum()
    blurry = convolve(sharp, true[None, None], "circular")
    trusted = torch.ones_like(blurry)
    trusted[..., 4:20, 10:34] = 0
    canvas = replace(Canvas.circular(blurry, wrong), mask=trusted)
    noise, psf_error = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.01, 0.1))
    corrected = correct_psf(canvas, sharp, wrong[None, None], noise=noise, psf_error=psf_error, finest=0.5)[0, 0]
    expected = dense_correction(sharp[0, 0], blurry[0, 0], wrong, trusted[0, 0], noise=0.01, psf_error=0.1, finest=0.5)
    assert (corrected - expected).norm() < 0.25 * (wrong - expected).norm()


def test_what_was_not_observed_does_not_correct_a_psf():
    """Nor what got light from beyond the border, of which the sharp picture there is only a guess."""
    psf = hook_psf()[None, None]
    sharp = structured_picture(60, 64)
    blurry = convolve(sharp, psf, "valid")  # (1, 1, 52, 54)
    trusted = torch.ones_like(blurry, dtype=torch.bool)
    trusted[..., 20:30, 20:30] = False
    noise, psf_error = (torch.full((1, 1, 1, 1), value) for value in (0.01, 0.1))
    corrected = []
    for spoilt in (blurry, torch.where(trusted, blurry, 1.0)):
        canvas = Canvas.around(spoilt, psf, trusted)
        guess = torch.full_like(canvas.blurry, 0.5)
        canvas.crop(guess).copy_(sharp[..., 4:-4, 5:-5])
        corrected.append(correct_psf(canvas, guess, psf, noise=noise, psf_error=psf_error, finest=0.5))
    torch.testing.assert_close(corrected[1], corrected[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(corrected[0], psf, rtol=0, atol=1e-4)


def test_the_smaller_the_expected_error_the_less_a_psf_is_corrected_and_each_of_a_batch_by_itself():
    true, sharp = hook_psf()[None, None], structured_picture(40, 44)
    blurry = convolve(sharp, true, "circular")
    wrong = true * torch.linspace(0.5, 1.5, 11)
    wrong = wrong / wrong.sum()
    noise, errors = torch.full((3, 1, 1, 1), 0.02), torch.tensor([0.003, 0.03, 0.3]).reshape(3, 1, 1, 1)
    canvas = Canvas.circular(blurry.expand(3, -1, -1, -1), wrong)
    corrected = correct_psf(
        canvas, sharp.expand(3, -1, -1, -1), wrong.expand(3, -1, -1, -1), noise=noise, psf_error=errors, finest=0.5
    )
    moved = (corrected - wrong).flatten(1).norm(dim=1)
    assert 0 < moved[0] < moved[1] < moved[2]
    alone = correct_psf(
        Canvas.circular(blurry, wrong), sharp, wrong, noise=noise[:1], psf_error=errors[1:2], finest=0.5
    )
    torch.testing.assert_close(corrected[1:2], alone, rtol=0, atol=1e-6)
    assert corrected.min() >= 0
    torch.testing.assert_close(corrected.sum((1, 2, 3)), torch.ones(3))


def test_a_flat_picture_corrects_nothing():
    psf, flat = hook_psf()[None, None], torch.full((1, 1, 40, 44), 0.5)
    noise, psf_error = torch.full((1, 1, 1, 1), 0.01), torch.full((1, 1, 1, 1), 0.3)
    corrected = correct_psf(Canvas.circular(flat, psf), flat, psf, noise=noise, psf_error=psf_error, finest=0.5)
    torch.testing.assert_close(corrected, psf, rtol=0, atol=1e-6)


# --- which gradients count --------------------------------------------------------------------------


def directions(field: torch.Tensor) -> np.ndarray:
    """0..3 for gradients whose line lies in [0, 45), [45, 90), ... degrees."""
    angle = np.degrees(np.arctan2(field[1].numpy(), field[0].numpy())) % 180
    return np.minimum(angle // 45, 3)


@pytest.mark.parametrize("pixels", [1, 20, 100])
def test_every_direction_keeps_its_share_however_weak(pixels):
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(2, 60, 61, generator=generator, dtype=torch.float64)
    quarter = directions(field)
    field = field * torch.from_numpy(np.choose(quarter.astype(int), [1.0, 0.1, 0.5, 0.02]))
    strong = field.square().sum(0).sqrt().numpy() >= salient(field, pixels) * (1 - 1e-12)
    counts = [int(strong[quarter == q].sum()) for q in range(4)]
    assert min(counts) == pixels, "the weakest direction exactly its share, the others at least"
    assert max(counts) > pixels


def test_opposite_gradients_are_the_same_direction():
    """An edge from dark to bright and one from bright to dark say the same about a PSF."""
    field = torch.zeros(2, 10, 10, dtype=torch.float64)
    for place, degrees in enumerate((22, 67, 112, 157)):
        along = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
        field[:, place, 0], field[:, place, 1] = 4 * along, -3 * along
    assert salient(field, 2) == pytest.approx(3, rel=1e-6)


def test_a_direction_without_enough_gradients_gives_what_it_has_and_none_gives_zero():
    field = torch.zeros(2, 10, 10)
    assert salient(field, 5) == 0
    field[0, 2, 3], field[0, 4, 4] = 0.5, 0.2
    assert salient(field, 5) == pytest.approx(0.2)


# --- housekeeping -----------------------------------------------------------------------------------


def islands() -> torch.Tensor:
    """A stroke, a far island of 5 % of the light, another of 20 %, and dust between them."""
    psf = torch.zeros(15, 15)
    psf[3, 2:8] = 0.75 / 6
    psf[12, 12] = 0.05
    psf[11, 3], psf[12, 4] = 0.1, 0.1  # touching at a corner: one island
    psf[7, 7] = 0.002
    return psf / psf.sum()


def test_prune_takes_out_dust_and_small_islands_and_keeps_large_ones():
    pruned = prune(islands())
    assert pruned[7, 7] == 0 and pruned[12, 12] == 0
    assert (pruned[3, 2:8] > 0).all() and pruned[11, 3] > 0 and pruned[12, 4] > 0
    assert float(pruned.sum()) == pytest.approx(1)
    torch.testing.assert_close(pruned[3, 2] / pruned[11, 3], islands()[3, 2] / islands()[11, 3])


def test_prune_keeps_the_largest_island_however_small_its_share():
    dots = torch.zeros(21, 21)
    dots[::2, ::2] = 1.0
    dots[10, 11] = 1.0
    pruned = prune(dots / dots.sum())
    assert (pruned > 0).sum() == 3 and (pruned[10, 10:13] > 0).all()
    assert float(pruned.sum()) == pytest.approx(1)


def test_prune_leaves_its_input_alone_and_a_clean_psf_as_it_is():
    psf, before = islands(), islands()
    prune(psf)
    assert torch.equal(psf, before)
    torch.testing.assert_close(prune(hook_psf()), hook_psf())


@pytest.mark.parametrize("place", [(0, 0), (6, 20), (20, 3)], ids=str)
def test_tidy_centres_to_half_a_pixel_and_loses_no_light(place):
    psf = torch.zeros(31, 31)
    psf[place[0] : place[0] + 9, place[1] : place[1] + 11] = hook_psf()
    tidied = tidy(psf)
    assert tidied.shape[0] % 2 == 1 and tidied.shape[1] % 2 == 1
    assert max(tidied.shape) < 20, "empty margins are cut"
    centre = psf_centroid(tidied)
    assert all(abs(c - side // 2) <= 0.5 + 1e-6 for c, side in zip(centre, tidied.shape, strict=True))
    assert float(kernel_similarity(tidied, hook_psf())) == pytest.approx(1, abs=1e-6)
    assert (tidied > 0).sum() == (hook_psf() > 0).sum()
    assert float(tidied.sum()) == pytest.approx(1, abs=1e-6)
