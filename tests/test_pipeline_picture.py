"""What is estimated on what, in which pieces, and when a picture is better left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fakes import PSF, believe, brightening, estimating, fake_method, judge_by
from helpers import CountingProgress, blurred_scene, structured_picture
from unblur.contract import Card, Method, Settings
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf, pad_psf
from unblur.pipeline import picture
from unblur.pipeline import picture as pipeline
from unblur.pipeline.picture import Options, estimate_psf_of, restore_picture
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

PICTURE = structured_picture(60, 80, channels=3)


def restored(options: Options, picture=PICTURE):
    return restore_picture(picture, options, Progress())


def blind_chain(tmp_path, body: str) -> str:
    """An estimator followed by a method whose `restore` is `body`."""
    return f"{estimating(tmp_path)}+{fake_method(tmp_path, 'second', body, needs=('blurry', 'psf'))}"


def test_luminance_is_rec_601_and_leaves_grey_alone():
    rgb = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    assert luminance(rgb).item() == pytest.approx(0.299 + 0.5 * 0.587 + 0.25 * 0.114)
    grey = torch.rand(1, 1, 4, 4)
    assert luminance(grey) is grey


def test_it_is_said_when_the_psf_that_was_given_was_corrected():
    scene = blurred_scene(60, 80, channels=3, sigma=0.005)
    thick = convolve(scene.psf, gaussian_psf(0.7), "zero")[0, 0]
    outcome = restored(Options(psf=thick, settings={"psf_is": "estimated"}), scene.blurry)
    (note,) = outcome.notes
    share = (outcome.psf - pad_psf(thick / thick.sum(), outcome.psf.shape)).abs().sum() / 2
    assert note == f"wiener_stack corrected the PSF that was given: {share:.0%} of its light lies elsewhere now."


@pytest.mark.parametrize("refinements", [0, 2])
def test_a_known_psf_is_judged_by_nobody_and_used_as_it_is_if_one_says_so(monkeypatch, refinements):
    calls = judge_by(monkeypatch, lambda *_: (False, "never"))
    scene = blurred_scene(60, 80, channels=3, sigma=0.005)
    outcome = restored(Options(psf=scene.psf[0, 0], settings={"refinements": refinements}), scene.blurry)
    before, after = ((scene.sharp - image).square().mean() for image in (scene.blurry, outcome.image))
    assert after < before / 2
    assert (outcome.method, outcome.changed, calls) == ("wiener_stack", True, [])
    assert torch.equal(outcome.psf, scene.psf[0, 0]) == (refinements == 0)
    assert outcome.notes == []
    torch.testing.assert_close(outcome.psf, pad_psf(scene.psf[0, 0], outcome.psf.shape), atol=0.02, rtol=0)


def test_auto_estimates_on_luminance_and_restores_the_colours(tmp_path, monkeypatch):
    calls = judge_by(monkeypatch, believe)
    monkeypatch.setattr(pipeline, "DEFAULT_ESTIMATOR", estimating(tmp_path))
    outcome = restored(Options())
    assert outcome.method == "estimating+wiener_stack"
    assert outcome.image.shape == PICTURE.shape
    (blurry, nothing, psf, sigma), (_, image, refined, _) = calls
    assert nothing is None
    assert psf.shape == (1, 1, 7, 7)
    assert torch.equal(refined[0, 0], outcome.psf)
    assert sigma >= 0
    torch.testing.assert_close(blurry, luminance(PICTURE))
    torch.testing.assert_close(image, luminance(outcome.image))


@pytest.mark.parametrize("after_restoring", [False, True])
def test_what_is_not_credible_is_not_done(tmp_path, monkeypatch, after_restoring):
    judge_by(monkeypatch, lambda _b, restored, *_: ((restored is None) == after_restoring, "It is not blurred."))
    chain = blind_chain(tmp_path, "return Restoration(image=observation.blurry * 0)")
    outcome = restored(Options(method=chain))
    assert outcome.image is PICTURE
    assert (outcome.changed, outcome.notes) == (False, ["It is not blurred."])
    assert outcome.psf is not None, "what was found is still told"
    assert restored(Options(method=chain, force=True)).changed


def test_a_denoiser_is_not_judged(tmp_path, monkeypatch):
    calls = judge_by(monkeypatch, lambda *_: (False, "never"))
    outcome = restored(Options(method=brightening(tmp_path), settings={"shift": 0.2}))
    torch.testing.assert_close(outcome.image, PICTURE + 0.2)
    assert calls == []


def test_strength_goes_part_of_the_way(tmp_path):
    method = brightening(tmp_path)
    torch.testing.assert_close(restored(Options(method=method, strength=0.25)).image, PICTURE + 0.025)
    untouched = restored(Options(method=method, strength=0))
    assert untouched.image is PICTURE
    assert not untouched.changed


@pytest.mark.parametrize(("card", "pieces"), [("tiling=True", 4), ("tiling=False", 1)])
def test_a_large_picture_is_tiled_where_the_method_allows_and_all_tiles_have_one_sigma(
    tmp_path, monkeypatch, card, pieces
):
    picture = torch.rand(1, 3, 40, 400, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 40 * 400 - 1)
    monkeypatch.setattr(pipeline, "tiled", lambda *a, **k: tiled(*a, **{**k, "tile": 100}))
    body = (
        "b = observation.blurry; "
        "return Restoration(image=b, notes=['alike', f'{b.mean()} {b.shape[3]} {observation.sigma}'])"
    )
    outcome = restored(Options(method=fake_method(tmp_path, "telling", body, card=card)), picture)
    alike, *tiles = [note.split() for note in outcome.notes]
    assert alike == ["alike"], "what all tiles say is told once"
    assert len(tiles) == pieces
    assert {float(sigma) for *_, sigma in tiles} == {outcome.sigma}
    assert max(int(width) for _, width, _ in tiles) == (400 if pieces == 1 else 100 + 16 + 2 * 32)
    torch.testing.assert_close(outcome.image, picture)


tiled = pipeline.tiled


def test_what_only_the_whole_photo_tells_is_found_out_before_it_is_cut(monkeypatch):
    """Here: how many pixels it has, and a PSF of that side."""
    seen = []

    def prepare(observation, settings, progress):
        return replace(observation, psf=delta_psf(observation.blurry.shape[-1] - 1)[None, None]), settings

    def restore(observation, settings, progress):
        seen.append((observation.blurry.shape[-1], observation.psf.shape[-1]))
        return Restoration(image=observation.blurry, psf=observation.psf)

    card = Card(
        "m", "m", "", frozenset({"blurry", "psf"}), frozenset({"image"}), frozenset({"blur"}), tiling=True, tile=60
    )
    method = Method(card, Settings, restore, prepare=prepare)
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 100)
    observation = Observation(blurry=PICTURE, psf=PSF[None, None])
    result = pipeline._restore_image(method, observation, Settings(), Progress())
    assert len(seen) > 1 and {side for _, side in seen} == {79} == {result.psf.shape[-1]}
    assert max(width for width, _ in seen) <= 80


def test_the_size_of_the_psf_reaches_the_estimator(tmp_path, monkeypatch):
    judge_by(monkeypatch, believe)
    outcome = restored(Options(method=estimating(tmp_path), psf_size=11))
    assert outcome.method == "estimating+hyper_laplacian", "an estimator is followed by a non-blind method"
    assert outcome.psf is not None
    assert outcome.psf.shape == (11, 11)
    with pytest.raises(UnblurError, match="'nlm', which estimates no PSF"):
        restored(Options(method="nlm", psf_size=11))


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (3, 400)])
def test_tiny_pictures_come_back_as_they_are(size, tmp_path):
    picture = torch.rand(1, 3, *size)
    for options in (Options(psf=PSF), Options(method=brightening(tmp_path))):
        outcome = restored(options, picture)
        assert outcome.image is picture
        assert not outcome.changed
        assert "too small" in outcome.notes[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("card", ["channels=(1,)", "channels=(3,)", "multiple_of=32"])
def test_methods_get_the_channels_and_sides_they_take(tmp_path, card, channels):
    body = (
        "c, h, w = observation.blurry.shape[1:]; assert c in METHOD.card.channels; "
        "assert h % METHOD.card.multiple_of == w % METHOD.card.multiple_of == 0; "
        "return Restoration(image=observation.blurry + 0.1)"
    )
    picture = PICTURE[:, :channels]
    outcome = restored(Options(method=fake_method(tmp_path, "picky", body, card=card)), picture)
    torch.testing.assert_close(outcome.image, picture + 0.1)


def test_what_a_method_says_is_kept_and_so_is_its_refusal(tmp_path):
    body = "return Restoration(image=observation.blurry, changed=False, notes=['It was fine.'])"
    outcome = restored(Options(method=fake_method(tmp_path, "content", body)))
    assert outcome.image is PICTURE
    assert (outcome.changed, outcome.notes) == (False, ["It was fine."])


def test_nan_is_refused(tmp_path):
    body = "return Restoration(image=observation.blurry / 0 * 0)"
    with pytest.raises(UnblurError, match="'dividing' gave NaN"):
        restored(Options(method=fake_method(tmp_path, "dividing", body)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": 1.5, "psf": PSF}, "strength goes from 0"),
        ({"sigma": 5}, "0.5 at the most, not 5"),
        ({"method": "hyper_laplacan"}, "Did you mean 'hyper_laplacian'"),
        ({"method": "wiener"}, "needs a psf: give --psf FILE"),
        ({"psf": PSF, "settings": {"pases": 2}}, "Did you mean 'passes'"),
        ({"psf": PSF, "method": "l0_psf"}, "estimates a PSF and takes none"),
        ({"psf": PSF, "method": "nlm"}, "makes no use of a PSF"),
    ],
)
def test_options_that_will_not_do_are_explained(options, message):
    with pytest.raises(UnblurError, match=message):
        Options(**options).chain()


def test_a_sigma_said_of_the_channels_is_smaller_in_the_luminance(monkeypatch):
    calls = judge_by(monkeypatch, lambda *_: (False, "enough"))
    restored(Options(sigma=0.03))
    assert calls[0][3] == pytest.approx(0.03 * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5)


def test_a_circular_boundary_is_not_cut_into_tiles(monkeypatch):
    monkeypatch.setattr(picture, "WHOLE_UP_TO", 100)
    monkeypatch.setattr(picture, "tiled", lambda *_, **__: pytest.fail("tiled"))
    for method in ("wiener", "richardson_lucy"):
        restored(Options(method=method, psf=PSF, settings={"boundary": "circular"}))


def test_a_cancellation_stops_the_work(tmp_path):
    progress = CountingProgress(cancel_at=1)
    with pytest.raises(Cancelled):
        restore_picture(PICTURE, Options(psf=PSF), progress)


def test_a_psf_by_itself_is_told_even_when_it_is_doubtful(tmp_path, monkeypatch):
    judge_by(monkeypatch, lambda *_: (False, "It is not blurred."))
    found = estimate_psf_of(PICTURE, Options(method=estimating(tmp_path), psf_size=5), Progress())
    assert found.psf is not None
    assert found.psf.shape == (5, 5)
    assert (found.changed, found.notes) == (False, ["It is not blurred."])


def test_a_psf_needs_an_estimator_and_a_picture_to_find_it_in(tmp_path):
    with pytest.raises(UnblurError, match="'nlm' estimates no PSF"):
        estimate_psf_of(PICTURE, Options(method="nlm"), Progress())
    with pytest.raises(UnblurError, match="too small"):
        estimate_psf_of(PICTURE[..., :9, :9], Options(method=estimating(tmp_path)), Progress())


@pytest.mark.parametrize(("gives", "blurred"), [(("image", "psf"), True), (("image",), False)])
def test_noise_that_jpeg_hid_is_looked_for_whenever_blur_is_undone(tmp_path, monkeypatch, gives, blurred):
    """A method that finds its own psf is given the same noise level as one that is handed a psf."""
    judge_by(monkeypatch, believe)
    asked = []
    monkeypatch.setattr(pipeline, "noise_of", lambda _picture, *, blurred=False: asked.append(blurred) or 0.03)
    body = "return Restoration(image=observation.blurry + observation.sigma, psf=torch.ones(1, 1, 1, 1))"
    outcome = restored(Options(method=fake_method(tmp_path, "own", body, gives=gives), force=True))
    torch.testing.assert_close(outcome.image, PICTURE + 0.03)
    assert set(asked) == {blurred}
