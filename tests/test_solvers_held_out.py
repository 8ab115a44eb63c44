"""Hidden pixels tell a right PSF from wrong ones, and lead a wrong one towards the right one."""

import itertools

import pytest
import torch

from helpers import CountingProgress, blurred_scene, hook_psf
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf, pad_psf
from unblur.metrics import kernel_similarity
from unblur.solvers import held_out
from unblur.solvers.held_out import FIRST_WEIGHT, best_weight, held_out_error, hide, refine_psf, with_coarse_shape
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


def test_one_pixel_in_five_is_hidden_and_the_generator_says_which():
    hidden = hide(torch.zeros(1, 1, 200, 200), dice())
    assert hidden.dtype == torch.bool
    assert float(hidden.double().mean()) == pytest.approx(0.2, abs=0.01)
    assert torch.equal(hidden, hide(torch.zeros(1, 1, 200, 200), dice()))
    assert not torch.equal(hidden, hide(torch.zeros(1, 1, 200, 200), dice(1)))


@pytest.mark.parametrize("psf", [TRUE, delta_psf(9)[None, None]], ids=["true", "delta"])
def test_hidden_pixels_have_no_influence_on_what_is_predicted_for_them(blurry, psf):
    """So the error is a parabola in what they are: `mean((predicted - y - d)^2)`."""
    picture, hidden = blurry.double(), hide(blurry, dice())
    change = 0.1 * torch.randn(picture.shape, generator=dice(1), dtype=torch.float64) * hidden
    below, here, above = (float(held_out_error(picture + sign * change, psf, 1e-4, hidden)) for sign in (-1, 0, 1))
    moved = float(inner(change, psf)[inner(hidden, psf)].square().mean())
    assert here < 0.1 * moved, "else the parabola would be lost in it"
    # Conjugate gradients begin with the picture as it is, and stop early: a thousandth of a hidden pixel remains.
    assert below + above - 2 * here == pytest.approx(2 * moved, rel=5e-3)
    assert above - below == pytest.approx(below - above, abs=0.2 * moved)


def test_hidden_pixels_near_the_border_do_not_count(blurry):
    hidden = hide(blurry, dice())
    rim = torch.ones_like(hidden)
    inner(rim, TRUE)[:] = False
    error = held_out_error(blurry, TRUE, 1e-4, hidden)
    blotched = torch.where(hidden & rim, 1 - blurry, blurry)
    torch.testing.assert_close(held_out_error(blotched, TRUE, 1e-4, hidden), error, rtol=0.02, atol=0)


def test_the_true_psf_predicts_better_than_one_too_thin_too_thick_or_none(blurry):
    def error(psf):
        generator = dice()
        weight = best_weight(blurry, psf, FIRST_WEIGHT, hide(blurry, generator))
        return sum(float(held_out_error(blurry, psf, weight, hide(blurry, generator))) for _ in range(3))

    true = error(TRUE)
    assert error(TOO_THICK) > 1.02 * true
    assert error(TOO_THIN) > 1.01 * true
    assert error(delta_psf(13)[None, None]) > 3 * true
    assert error(TRUE.flip(-2, -1)) > 2 * true


def test_the_gradient_is_that_of_finite_differences():
    """All the way through the deconvolution, its shrinkage included."""
    picture = blurred_scene(40, 44, sigma=0.003).blurry.double()
    hidden = hide(picture, dice())
    psf = (TOO_THICK.double() + 1e-3).requires_grad_()
    held_out_error(picture, psf, 1e-4, hidden).backward()
    assert psf.grad is not None
    direction = torch.randn(psf.shape, generator=dice(2), dtype=torch.float64)
    step = 1e-7  # pixels that jump in between would spoil the comparison
    with torch.no_grad():
        above, below = (held_out_error(picture, psf + sign * step * direction, 1e-4, hidden) for sign in (1, -1))
    assert float((psf.grad * direction).sum()) == pytest.approx(float(above - below) / (2 * step), rel=1e-4)


# --- the prior's weight ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1e-5, 2e-3])
def test_the_best_weight_is_a_minimum(blurry, first):
    hidden = hide(blurry, dice())
    weight = best_weight(blurry, TRUE, first, hidden)
    errors = [float(held_out_error(blurry, TRUE, weight * factor, hidden)) for factor in (0.25, 0.5, 1, 2, 4)]
    assert min(errors) == errors[2]
    assert best_weight(blurry, TRUE, weight, hidden) == pytest.approx(weight, rel=0.3), "wherever the search begins"


def test_more_noise_asks_for_more_prior():
    weights = []
    for sigma in (0.002, 0.02):
        blurry = blurred_scene(72, 80, sigma=sigma).blurry
        weights.append(best_weight(blurry, TRUE, FIRST_WEIGHT, hide(blurry, dice())))
    assert weights[1] > 3 * weights[0]


# --- coarse and fine ------------------------------------------------------------------------------


def test_the_coarse_shape_is_kept_and_the_fine_one_is_not():
    sigma = 1.0
    fine = torch.rand(1, 1, 33, 35, generator=dice(), dtype=torch.float64) + 3
    coarse = torch.rand(33, 35, generator=dice(1), dtype=torch.float64) + 3  # all of it far above zero: nothing is cut
    fine, coarse = fine / fine.sum(), coarse / coarse.sum()
    mixed = with_coarse_shape(fine, coarse, sigma)
    blur = gaussian_psf(sigma, 7).double()
    expected = fine - convolve(fine, blur, "zero") + convolve(coarse[None, None], blur, "zero")
    torch.testing.assert_close(mixed, expected / expected.sum())
    slow, fast = (slice(1, 3),) * 2, (slice(12, 17),) * 2  # frequencies in periods per side
    spectra = [torch.fft.fft2(psf.reshape(33, 35)) for psf in (mixed, fine, coarse)]
    for band, like, unlike in ((slow, 2, 1), (fast, 1, 2)):
        near, far = ((spectra[0] - spectra[which])[band].abs().max() for which in (like, unlike))
        assert near < 0.35 * far


def test_the_outcome_is_a_psf_and_zero_keeps_nothing():
    mixed = with_coarse_shape(TRUE, TOO_THICK[0, 0].roll(3, 1), 1.0)
    assert mixed.min() >= 0 and float(mixed.sum()) == pytest.approx(1)
    assert with_coarse_shape(TRUE, TOO_THICK[0, 0], 0.0) is TRUE


# --- refining -------------------------------------------------------------------------------------


def refined(blurry, start, *, iterations=25, coarse=0.0, until=None, progress=None, seed=0):
    """With a PSF that is learned pixel by pixel: the logarithms of its values."""
    logits = (start + 1e-3 * start.max()).log().requires_grad_()
    return refine_psf(
        blurry,
        start[0, 0],
        lambda: logits.flatten().softmax(0).view_as(logits),
        [logits],
        learning_rate=0.1,
        iterations=iterations,
        coarse=coarse,
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
