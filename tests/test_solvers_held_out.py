"""Hidden pixels tell a right PSF from wrong ones, and lead a wrong one towards the right one."""

import itertools

import pytest
import torch

from helpers import CountingProgress, blurred_scene, hook_psf
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, pad_psf
from unblur.metrics import kernel_similarity
from unblur.solvers import held_out
from unblur.solvers.held_out import FIRST_WEIGHT, HIDDEN, best_weight, held_out_error, hide, refine_psf, square_to_hide
from unblur.types import Cancelled, Progress

SMEAR = torch.tensor([[0, 0.1, 0], [0.1, 0.6, 0.1], [0, 0.1, 0]])
TRUE = pad_psf(hook_psf(), (11, 13))[None, None]
TOO_THICK = convolve(TRUE, SMEAR, "zero")
TOO_THIN = (2 * TRUE - TOO_THICK).clamp_min(0) / (2 * TRUE - TOO_THICK).clamp_min(0).sum()


@pytest.fixture(scope="module")
def blurry():
    return blurred_scene(96, 104, sigma=0.003).blurry


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def inner(x: torch.Tensor, psf: torch.Tensor) -> torch.Tensor:
    y, x_ = psf.shape[-2] // 2, psf.shape[-1] // 2
    return x[..., y : x.shape[-2] - y, x_ : x.shape[-1] - x_]


# --- the error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("square", [1, 3])
def test_squares_are_hidden_whose_middles_count_and_the_generator_says_which(square):
    picture = torch.zeros(1, 1, 200, 200)
    hidden = hide(picture, dice(), square)
    assert float(hidden.pixels.double().mean()) == pytest.approx(HIDDEN[square], abs=0.02)
    expected = torch.zeros(202, 202, dtype=torch.bool)
    rim = square // 2
    for y, x in (hidden.counted[0, 0].nonzero() + 1).tolist():
        expected[y - rim : y + rim + 1, x - rim : x + rim + 1] = True
    assert torch.equal(hidden.pixels[0, 0], expected[1:-1, 1:-1])
    assert torch.equal(hidden.counted, hide(picture, dice(), square).counted)
    assert not torch.equal(hidden.counted, hide(picture, dice(1), square).counted)


@pytest.mark.parametrize("psf", [TRUE, delta_psf(9)[None, None]], ids=["true", "delta"])
def test_hidden_pixels_have_no_influence_on_what_is_predicted_for_them(blurry, psf):
    """So the error is a parabola in what they are: `mean((predicted - y - d)^2)`."""
    picture, hidden = blurry.double(), hide(blurry, dice(), 1)
    change = 0.1 * torch.randn(picture.shape, generator=dice(1), dtype=torch.float64) * hidden.pixels
    below, here, above = (float(held_out_error(picture + sign * change, psf, 1e-4, hidden)) for sign in (-1, 0, 1))
    moved = float(inner(change, psf)[inner(hidden.counted, psf)].square().mean())
    assert here < 0.1 * moved, "else the parabola would be lost in it"
    # Conjugate gradients begin with the picture as it is, and stop early: a thousandth of a hidden pixel remains.
    assert below + above - 2 * here == pytest.approx(2 * moved, rel=5e-3)
    assert above - below == pytest.approx(below - above, abs=0.2 * moved)


def test_hidden_pixels_near_the_border_do_not_count(blurry):
    hidden = hide(blurry, dice(), 1)
    rim = torch.ones_like(hidden.pixels)
    inner(rim, TRUE)[:] = False
    error = held_out_error(blurry, TRUE, 1e-4, hidden)
    blotched = torch.where(hidden.pixels & rim, 1 - blurry, blurry)
    torch.testing.assert_close(held_out_error(blotched, TRUE, 1e-4, hidden), error, rtol=0.02, atol=0)


def test_the_true_psf_predicts_better_than_one_too_thin_too_thick_or_none(blurry):
    def error(psf):
        generator = dice()
        weight = best_weight(blurry, psf, FIRST_WEIGHT, hide(blurry, generator, 1))
        return sum(float(held_out_error(blurry, psf, weight, hide(blurry, generator, 1))) for _ in range(3))

    true = error(TRUE)
    assert error(TOO_THICK) > 1.02 * true
    assert error(TOO_THIN) > 1.01 * true
    assert error(delta_psf(13)[None, None]) > 3 * true
    assert error(TRUE.flip(-2, -1)) > 2 * true


def test_the_gradient_is_that_of_finite_differences():
    """All the way through the deconvolution, its shrinkage included."""
    picture = blurred_scene(40, 44, sigma=0.003).blurry.double()
    hidden = hide(picture, dice(), 1)
    psf = (TOO_THICK.double() + 1e-3).requires_grad_()
    held_out_error(picture, psf, 1e-4, hidden).backward()
    assert psf.grad is not None
    direction = torch.randn(psf.shape, generator=dice(2), dtype=torch.float64)
    step = 1e-7  # pixels that jump in between would spoil the comparison
    with torch.no_grad():
        above, below = (held_out_error(picture, psf + sign * step * direction, 1e-4, hidden) for sign in (1, -1))
    assert float((psf.grad * direction).sum()) == pytest.approx(float(above - below) / (2 * step), rel=1e-4)


@pytest.fixture(scope="module")
def demosaicked(blurry):
    """With noise that neighbours share, as demosaicking leaves it."""
    noise = torch.randn(1, 1, 98, 106, generator=dice(5))
    tent = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None] / 6  # keeps the variance
    return blurry + 0.02 * torch.nn.functional.conv2d(noise, tent)


def test_noise_that_neighbours_share_does_not_help_to_guess_the_middle_of_a_square(demosaicked):
    """Where it helps, as with single pixels, the best prior is the one that lets noise through."""
    weights = {}
    for square in (1, 3):
        weights[square] = best_weight(demosaicked, TRUE, FIRST_WEIGHT, hide(demosaicked, dice(), square))
    assert weights[3] > 3 * weights[1]


def test_squares_are_hidden_where_neighbours_share_their_noise(blurry, demosaicked):
    assert square_to_hide(blurry) == 1
    assert square_to_hide(demosaicked) == 3
    assert square_to_hide(blurry[..., :12, :12]) == 1


# --- the prior's weight ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1e-5, 2e-3])
def test_the_best_weight_is_a_minimum(blurry, first):
    hidden = hide(blurry, dice(), 1)
    weight = best_weight(blurry, TRUE, first, hidden)
    errors = [float(held_out_error(blurry, TRUE, weight * factor, hidden)) for factor in (0.25, 0.5, 1, 2, 4)]
    assert min(errors) == errors[2]
    assert best_weight(blurry, TRUE, weight, hidden) == pytest.approx(weight, rel=0.3), "wherever the search begins"


def test_more_noise_asks_for_more_prior():
    weights = []
    for sigma in (0.002, 0.02):
        blurry = blurred_scene(72, 80, sigma=sigma).blurry
        weights.append(best_weight(blurry, TRUE, FIRST_WEIGHT, hide(blurry, dice(), 1)))
    assert weights[1] > 3 * weights[0]


# --- refining -------------------------------------------------------------------------------------


def refined(blurry, start, *, iterations=25, until=None, progress=None, seed=0):
    """With a PSF that is learned pixel by pixel: the logarithms of its values."""
    logits = (start + 1e-3 * start.max()).log().requires_grad_()
    return refine_psf(
        blurry,
        lambda: logits.flatten().softmax(0).view_as(logits),
        [logits],
        learning_rate=0.1,
        iterations=iterations,
        square=1,
        generator=dice(seed),
        until=until,
        progress=progress or Progress(),
    )


def test_refining_moves_a_wrong_psf_towards_the_true_one(blurry):
    bumps = 0.5 + torch.rand(TRUE.shape, generator=dice(3))
    wrong = (TOO_THICK * bumps) / (TOO_THICK * bumps).sum()
    psf = refined(blurry, wrong)
    assert psf.shape == (11, 13) and not psf.requires_grad
    assert psf.min() >= 0 and float(psf.sum()) == pytest.approx(1)
    before, after = float(kernel_similarity(wrong, TRUE)), float(kernel_similarity(psf, TRUE))
    assert 1 - after < 0.6 * (1 - before)


def test_refining_is_the_same_every_time_and_every_step_is_told(blurry):
    small = blurry[..., :48, :56]
    progress = CountingProgress()
    progress.stage("refining", 6)
    psf = refined(small, TOO_THICK, iterations=6, progress=progress)
    assert progress.done == [6]
    assert torch.equal(refined(small, TOO_THICK, iterations=6), psf)
    assert not torch.equal(refined(small, TOO_THICK, iterations=6, seed=1), psf)
    progress.cancel()
    with pytest.raises(Cancelled):
        refined(small, TOO_THICK, iterations=6, progress=progress)


def test_refining_ends_in_time_and_says_that_the_rest_is_done(blurry, monkeypatch):
    ticks = itertools.count(1)
    monkeypatch.setattr(held_out.time, "monotonic", lambda: float(next(ticks)))
    progress = CountingProgress()
    progress.stage("refining", 10)
    psf = refined(blurry[..., :48, :56], TOO_THICK, iterations=10, until=3.5, progress=progress)
    assert progress.done == [10]
    assert progress.reports == 1 + 4 + 1, "the stage, four steps, and the rest at once"
    assert torch.isfinite(psf).all()
