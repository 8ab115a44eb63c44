"""The `fast` preset: PSFs refined on hidden pixels, and chosen from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import CountingProgress, blurred_scene
from unblur import methods
from unblur.imaging.psf import delta_psf, pad_psf
from unblur.methods.selfdeblur import psf_search
from unblur.methods.selfdeblur.psf_search import find_psf
from unblur.metrics import kernel_similarity
from unblur.solvers.psf_fit import tidy
from unblur.types import Cancelled, Observation, Progress


def refine(grey: torch.Tensor, **changed: Any) -> psf_search.Found:
    settings: dict[str, Any] = {
        "size": 15,
        "candidates": 1,
        "rounds": 1,
        "iterations": 4,
        "learning_rate": 0.01,
        "seed": 0,
        "until": None,
        "progress": Progress(),
    }
    return find_psf(grey, **(settings | changed))


@pytest.fixture(scope="module")
def scene():
    return blurred_scene(128, 144, sigma=0.003)


def test_the_psf_gets_better_and_so_does_the_prediction_of_hidden_pixels(scene):
    found = refine(scene.blurry, iterations=8, rounds=2)
    assert found.error < found.first_error
    assert kernel_similarity(found.psf, scene.psf) > kernel_similarity(found.first, scene.psf)


def test_a_first_estimate_that_nothing_improves_is_kept_and_that_is_said(scene):
    found = refine(scene.blurry, learning_rate=1.0, iterations=2)  # so fast that it can only do harm
    assert found.psf is found.first
    assert "did not improve" in found.note()


def test_the_true_psf_is_judged_better_than_a_wrong_one(scene):
    true = tidy(scene.psf[0, 0])
    wrong = [delta_psf(3), true.flip(-2, -1), torch.full_like(true, 1 / true.numel())]
    judge = psf_search._Judge.of(scene.blurry, true, 15, square=1, seed=0)
    assert judge.verdicts([*wrong, true])[0].psf is true


def test_a_psf_with_a_wider_dark_margin_is_judged_alike(scene):
    """A larger support could otherwise be asked for fewer, easier pixels."""
    true = tidy(scene.psf[0, 0])
    judge = psf_search._Judge.of(scene.blurry, true, 21, square=1, seed=0)
    narrow, wide = judge.verdicts([true, pad_psf(true, 19)])
    assert narrow.error == pytest.approx(wide.error, rel=1e-6)


@pytest.mark.parametrize(("size", "rounds"), [(7, 3), (9, 2), (33, 1)])
def test_a_psf_that_grows_or_hardly_fits_is_no_obstacle(size, rounds):
    small = blurred_scene(72, 80, sigma=0.005)
    psf = refine(small.blurry, size=size, rounds=rounds, candidates=2, learning_rate=0.05).psf
    assert psf.shape[0] % 2 == psf.shape[1] % 2 == 1
    torch.testing.assert_close(psf.sum(), torch.tensor(1.0))


def test_a_psf_too_large_for_the_picture_is_left_as_it_was_found_and_that_is_said():
    found = refine(blurred_scene(72, 80, sigma=0.005).blurry, size=301)
    assert found.psf is found.first
    assert "too large" in found.note()


def test_a_psf_is_cut_to_size_about_its_centre_of_mass():
    psf = torch.zeros(9, 9)
    psf[1:4, 2] = 1 / 3
    psf[8, 8] = 1e-3
    cut = psf_search._within(psf, 5)
    torch.testing.assert_close(cut, pad_psf(torch.full((3, 1), 1 / 3), 5), atol=1e-3, rtol=0)


def test_time_that_is_up_ends_the_refining_and_the_progress_is_whole(scene):
    progress = CountingProgress()
    refine(scene.blurry, until=0.0, iterations=50, progress=progress)
    assert progress.promised[-1] == progress.done[-1] == 50


def test_cancelling_stops_it_between_two_steps(scene):
    class StopsAtSecondStep(Progress):
        steps = 0

        def on_advance(self, steps: int, figures: dict[str, float]) -> None:
            self.steps += "loss" in figures
            if self.steps == 2:
                self.cancel()

    progress = StopsAtSecondStep()
    with pytest.raises(Cancelled):
        refine(scene.blurry, iterations=50, progress=progress)
    assert progress.steps == 2


def test_the_method_reports_what_refining_did(scene):
    result = methods.get("selfdeblur")(Observation(blurry=scene.blurry), {"preset": "fast", **QUICK})
    assert any("refin" in note.lower() for note in result.notes)


QUICK = {"size": 15, "iterations": 2, "rounds": 1, "candidates": 1}
