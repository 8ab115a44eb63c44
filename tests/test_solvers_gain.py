"""The learned judge: how much nearer to the sharp picture is a restored one?"""

from __future__ import annotations

import pytest
import torch

from helpers import blurred_scene, hook_psf, structured_picture
from unblur import methods
from unblur.solvers import gain
from unblur.solvers.gain.network import GainNetwork, GainPlan
from unblur.solvers.gain.views import FACTS, PICTURES, views_of
from unblur.types import Observation


def deconvolved(photo, psf):
    return methods.get("hyper_laplacian")(Observation(blurry=photo, psf=psf, psf_estimated=True)).image


def test_more_gain_is_predicted_with_the_right_psf_than_with_wrong_ones():
    scene = blurred_scene(200, 200, sigma=0.004)
    wrong = [scene.psf.flip(-1, -2), scene.psf.rot90(1, (-2, -1))]
    right, *others = (gain.predict(scene.blurry, deconvolved(scene.blurry, k), k[0, 0]) for k in (scene.psf, *wrong))
    assert right.gain > 1
    assert all(other.gain < right.gain - 1 for other in others)


def test_the_gain_with_a_psf_is_that_of_a_quick_deconvolution_with_it():
    scene = blurred_scene(200, 200, sigma=0.004)
    restored = deconvolved(scene.blurry, scene.psf)
    assert gain.predict_for_psf(scene.blurry, scene.psf[0, 0]) == gain.predict(scene.blurry, restored, scene.psf[0, 0])


def test_of_a_large_photo_the_most_detailed_area_counts():
    scene = blurred_scene(360, 304, sigma=0.004)
    flat = torch.full((1, 1, 350, scene.blurry.shape[-1]), 0.5)
    restored = deconvolved(scene.blurry, scene.psf)
    photo, candidate = (torch.cat((flat, one, flat), -2) for one in (scene.blurry, restored))
    alone, within = (
        gain.predict(scene.blurry, restored, scene.psf[0, 0]),
        gain.predict(photo, candidate, scene.psf[0, 0]),
    )
    assert within.gain == pytest.approx(alone.gain, abs=1.5)


@pytest.mark.parametrize(
    ("size", "side", "can"), [((80, 200), 39, True), ((79, 200), 9, False), ((80, 200), 41, False)]
)
def test_a_photo_must_be_large_enough_for_the_psf(size, side, can):
    grey, psf = structured_picture(*size), torch.full((side, side), 1 / side**2)
    assert gain.can_predict(grey, psf) == can
    if can:
        assert torch.isfinite(torch.tensor(gain.predict(grey, grey, psf))).all()


def test_without_a_psf_the_views_show_the_photo_and_nothing_unexplained():
    grey, restored = structured_picture(90, 100), structured_picture(90, 100).flip(-1)
    views = views_of(grey, restored, None)
    assert views.pictures.shape == (PICTURES, 90, 100) and views.facts.shape == (FACTS,)
    assert torch.equal(views.pictures[:2], torch.cat((grey, restored), 1)[0])
    assert torch.equal(views.pictures[2:4], grey[0].expand(2, -1, -1)) and not views.pictures[4].any()
    assert views.facts[-1] == 0 and views_of(grey, restored, hook_psf()).facts[-1] == 1


def test_the_estimate_does_not_depend_on_brightness_and_contrast():
    network = GainNetwork(GainPlan(widths=(4, 4, 6, 6, 8), hidden=8)).eval()
    pictures, facts = torch.rand(2, PICTURES, 96, 64), torch.rand(2, FACTS)
    darker = 0.3 * pictures
    darker[:, :4] += 0.2  # the last one is a difference
    one, other = network(pictures, facts), network(darker, facts)
    torch.testing.assert_close(one.gain, other.gain, atol=1e-4, rtol=1e-4)
    assert one.errors.shape == (2, 2, 3, 2) and (one.spread > 0).all()


def test_a_prediction_can_be_taken_with_caution():
    assert gain.Prediction(2.0, 1.0).least(0.25) == 1.75
