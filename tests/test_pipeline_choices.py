"""Which of the choices of `auto` restores a photo, and what is said if none does."""

from __future__ import annotations

import torch

from fakes import brightening, estimating, fake_method
from helpers import blurred_scene, structured_picture
from unblur.pipeline import judge as judging
from unblur.pipeline import options as options_module
from unblur.pipeline import steps
from unblur.pipeline.auto import Choice
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.solvers.gain import Prediction
from unblur.types import Observation, Progress, Restoration

PICTURE = structured_picture(60, 80, channels=3)
BLURRY = blurred_scene(60, 80, channels=3, sigma=0.005).blurry


def restored(options, picture=PICTURE):
    return restore_picture(Observation(blurry=picture), options, Progress())


BLURRIER = (
    "return Restoration(image=torch.nn.functional.avg_pool2d(observation.blurry, 5, 1, 2, count_include_pad=False))"
)
SHARPER = (
    "b = observation.blurry; mean = torch.nn.functional.avg_pool2d(b, 3, 1, 1, count_include_pad=False); "
    "return Restoration(image=b + 0.3 * (b - mean))"
)


def tried(monkeypatch, *choices: Choice):
    """What `auto` makes of a blurred photo when these are its choices."""
    monkeypatch.setattr(options_module, "choose", lambda method, given, sigma=0.0, **_: list(choices))
    return restored(Options(), BLURRY)


def test_where_the_first_choice_gives_nothing_credible_the_next_one_restores(tmp_path, monkeypatch):
    first, second = fake_method(tmp_path, "first", BLURRIER), fake_method(tmp_path, "second", SHARPER)
    result = tried(monkeypatch, Choice(first, "it comes first"), Choice(second, "the first one failed"))
    assert (result.changed, result.method, result.reason) == (True, "second", "the first one failed")


def test_where_a_method_says_that_it_cannot_restore_the_photo_the_next_choice_restores(tmp_path, monkeypatch):
    unsure = "return Restoration(image=observation.blurry, changed=False, notes=['not sure'])"
    first, second = fake_method(tmp_path, "first", unsure), fake_method(tmp_path, "second", SHARPER)
    result = tried(monkeypatch, Choice(first, "it comes first"), Choice(second, "the first one failed"))
    assert (result.changed, result.method) == (True, "second")
    blurrier = fake_method(tmp_path, "blurrier", BLURRIER)
    neither = tried(monkeypatch, Choice(blurrier, "it comes first"), Choice(first, "it comes last"))
    assert (neither.changed, neither.method) == (False, "blurrier") and "no sharper" in neither.notes[0]
    refused = tried(monkeypatch, Choice(first, "it comes first"), Choice(blurrier, "it comes last"))
    assert (refused.changed, refused.method, refused.reason) == (False, "blurrier", "it comes last")
    alone = tried(monkeypatch, Choice(first, "it is the only one"))
    assert (alone.changed, alone.method, alone.notes) == (False, "first", ["not sure"])


def test_where_no_choice_gives_anything_credible_the_reason_is_that_of_the_first(tmp_path, monkeypatch):
    first, second = (fake_method(tmp_path, name, BLURRIER) for name in ("first", "second"))
    result = tried(monkeypatch, Choice(first, "it comes first"), Choice(second, "the first one failed"))
    assert (result.changed, result.method, result.reason) == (False, "first", "it comes first")
    assert "no sharper" in result.notes[0]


def test_a_photo_that_is_not_blurred_is_not_deblurred_by_another_method_but_it_may_be_denoised(tmp_path, monkeypatch):
    choices = [
        Choice(fake_method(tmp_path, name, "assert False, 'nothing is computed'"), "") for name in ("first", "second")
    ]
    monkeypatch.setattr(options_module, "choose", lambda method, given, sigma=0.0, **_: choices)
    result = restored(Options())
    assert not result.changed and "does not look blurred" in result.notes[0]
    choices.append(Choice(brightening(tmp_path), "", {"brightening.shift": 0.01}))
    result = restored(Options())
    torch.testing.assert_close(result.image, PICTURE + 0.01)


def test_the_settings_of_a_choice_give_way_to_those_of_the_person(tmp_path, monkeypatch):
    choice = Choice(brightening(tmp_path), "", {"brightening.shift": 0.01})
    monkeypatch.setattr(options_module, "choose", lambda method, given, sigma=0.0, **_: [choice])
    result = restored(Options(settings={"brightening.shift": 0.02}))
    torch.testing.assert_close(result.image, PICTURE + 0.02)


# --- a PSF that was refused -----------------------------------------------------------------------


def doubtful_chain(tmp_path, monkeypatch, gain: float, second: str) -> str:
    """A chain whose PSF is refused, and for the result of whose `second` step this gain is predicted."""
    monkeypatch.setattr(judging, "why_not_explained_by", lambda grey, psf: "No credible PSF was found.")
    monkeypatch.setattr(judging, "can_predict", lambda grey, psf: True)
    monkeypatch.setattr(judging, "predict", lambda grey, restored, psf: Prediction(gain, 1.0))
    monkeypatch.setattr(judging, "why_not_reblurred", lambda *_: None)
    monkeypatch.setattr(judging, "why_not_clearer", lambda *_: None)
    name = f"{estimating(tmp_path)}+{fake_method(tmp_path, 'second', second, needs=('blurry', 'psf'))}"
    return name


def in_doubt(tmp_path, monkeypatch, gain: float, second: str):
    """What becomes of such a photo."""
    name = doubtful_chain(tmp_path, monkeypatch, gain, second)
    return tried(monkeypatch, Choice(name, "it comes first"), Choice(name, "it becomes clearer", refused_psf=True))


def test_with_a_refused_psf_the_photo_is_restored_if_enough_gain_is_predicted(tmp_path, monkeypatch):
    result = in_doubt(tmp_path, monkeypatch, judging.LEAST_GAIN_IN_DOUBT + 0.3, SHARPER)
    assert (result.changed, result.method, result.reason) == (True, "estimating+second", "it becomes clearer")
    assert result.psf is not None and result.notes == []


def test_the_stages_of_the_second_step_have_the_same_names_with_a_refused_psf(tmp_path, monkeypatch):
    with_stage = SHARPER.replace("image=b", 'stages={"mean": mean}, image=b')
    result = in_doubt(tmp_path, monkeypatch, judging.LEAST_GAIN_IN_DOUBT + 0.3, with_stage)
    assert list(result.stages) == ["second.mean"]


def test_with_a_refused_psf_too_little_gain_leaves_the_photo_alone_and_the_first_reason_is_said(tmp_path, monkeypatch):
    result = in_doubt(tmp_path, monkeypatch, judging.LEAST_GAIN_IN_DOUBT + 0.2, SHARPER)
    assert (result.changed, result.notes) == (False, ["No credible PSF was found."])


def test_with_a_refused_psf_a_photo_too_small_for_a_prediction_is_left_alone(tmp_path, monkeypatch):
    can_predict = judging.can_predict
    name = doubtful_chain(tmp_path, monkeypatch, 3.0, SHARPER)
    monkeypatch.setattr(judging, "can_predict", can_predict)
    result = tried(monkeypatch, Choice(name, "it comes first"), Choice(name, "a gain", refused_psf=True))
    assert (result.changed, result.notes) == (False, ["No credible PSF was found."])


def test_a_picture_that_was_refused_is_not_made_again(tmp_path, monkeypatch):
    """The PSF passed, so it is not in doubt."""
    name = f"{estimating(tmp_path)}+{fake_method(tmp_path, 'second', BLURRIER, needs=('blurry', 'psf'))}"
    monkeypatch.setattr(judging, "why_not_explained_by", lambda grey, psf: None)
    monkeypatch.setattr(judging, "why_not_local", lambda *_: None)
    choices = Choice(name, "it comes first"), Choice(name, "never", refused_psf=True)
    result = tried(monkeypatch, *choices)
    assert not result.changed and result.reason == "it comes first" and "no sharper" in result.notes[0]


def test_a_refused_psf_is_not_estimated_again(tmp_path, monkeypatch):
    spy = "assert observation.psf_estimated; " + SHARPER
    assert in_doubt(tmp_path, monkeypatch, 3.0, spy).changed
    asked, found = [], Restoration(psf=torch.full((1, 1, 5, 5), 1 / 25))
    monkeypatch.setattr(steps, "_estimate", lambda *_: asked.append(1) or found)
    assert in_doubt(tmp_path, monkeypatch, 3.0, SHARPER).changed and len(asked) == 1


def test_a_method_that_takes_a_psf_begins_with_the_refused_one_and_its_result_is_not_held_against_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(judging, "why_not_explained_by", lambda grey, psf: "No credible PSF was found.")
    monkeypatch.setattr(judging, "can_predict", lambda grey, psf: True)

    def predicted(grey, restored, psf):
        assert psf is None, "the picture was not restored with this PSF"
        return Prediction(1.0, 0.0)

    monkeypatch.setattr(judging, "predict", predicted)
    first = f"{estimating(tmp_path)}+{fake_method(tmp_path, 'first', SHARPER, needs=('blurry', 'psf'))}"
    body = "assert observation.psf is not None; " + SHARPER
    second = fake_method(tmp_path, "second", body, card="takes=frozenset({'psf'})")
    result = tried(monkeypatch, Choice(first, ""), Choice(second, "it turned", refused_psf=True))
    assert (result.changed, result.method) == (True, "second")
