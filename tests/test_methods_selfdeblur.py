"""SelfDeblur's failures, its presets, and what becomes of photos."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from helpers import CountingProgress, blurred_scene, observe, structured_picture
from selfdeblur_scenes import PSF, QUICK, dice, run, scene_of
from unblur import methods
from unblur.imaging.colour import NOISE_IN_LUMINANCE, luminance
from unblur.imaging.psf import delta_psf, pad_psf, psf_centroid
from unblur.methods import selfdeblur
from unblur.methods.selfdeblur import attempts
from unblur.methods.selfdeblur.fitting import Fit
from unblur.metrics import kernel_similarity, psnr
from unblur.types import Observation, Progress

# --- failures -------------------------------------------------------------------------------------


def good_fit(canvas: torch.Tensor, **parts) -> Fit:
    return replace(Fit(canvas, PSF.expand(len(canvas), 1, 11, 11), torch.zeros(len(canvas))), **parts)


def point_like(canvas: torch.Tensor) -> Fit:
    return good_fit(canvas, psf=delta_psf(11).expand(len(canvas), 1, 11, 11))


def black(canvas: torch.Tensor) -> Fit:
    return good_fit(torch.zeros_like(canvas), losses=torch.full((len(canvas),), 0.3))


class Outcomes:
    """Stands for `fit`: gives these outcomes in turn, and keeps what it was asked for."""

    def __init__(self, monkeypatch, *outcomes: Fit) -> None:
        self.outcomes, self.calls = list(outcomes), []
        monkeypatch.setattr(attempts, "fit", self)

    def __call__(self, blurry, size, plan, *, seed, progress, start=None, known_psf=None) -> Fit:
        self.calls.append({"blurry": blurry, "plan": plan, "seed": seed, "start": start, "known_psf": known_psf})
        progress.advance(plan.iterations)
        return self.outcomes.pop(0)


def test_a_credible_fit_is_kept_without_a_word(monkeypatch):
    scene, canvas = scene_of()
    outcomes = Outcomes(monkeypatch, good_fit(canvas))
    result = run(scene.blurry, final="none", restarts=2)
    assert result.image is not None and result.psf is not None
    assert (result.notes, len(outcomes.calls)) == ([], 1)
    assert kernel_similarity(result.psf, PSF[None, None]) > 0.999


def test_a_black_picture_is_fitted_again_with_the_psf_kept(monkeypatch):
    scene, canvas = scene_of()
    outcomes = Outcomes(monkeypatch, black(canvas), good_fit(canvas))
    progress = CountingProgress()
    result = run(scene.blurry, progress, final="none", optimisation="alternating")
    assert result.notes == ["The picture was black and was fitted again with the estimated PSF."]
    again = outcomes.calls[1]
    assert torch.equal(again["known_psf"], PSF[None, None])
    assert not again["plan"].alternating and again["plan"].halve_at == (0.7, 0.8, 0.9)
    assert progress.promised == progress.done or None in progress.promised
    assert result.image is not None and result.image.mean() > 0.1


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (point_like, "the PSF is a point"),
        (lambda canvas: good_fit(canvas, psf=bordering().expand(len(canvas), 1, 11, 11)), "along its border"),
        (lambda canvas: good_fit(torch.full_like(canvas, torch.nan)), "diverged"),
    ],
    ids=["point", "border", "diverged"],
)
def test_a_failed_fit_is_tried_again_from_the_next_seed(monkeypatch, bad, word):
    scene, canvas = scene_of()
    outcomes = Outcomes(monkeypatch, bad(canvas), good_fit(canvas))
    result = run(scene.blurry, restarts=1, seed=7)
    assert [call["seed"] for call in outcomes.calls] == [7, 8]
    assert len(result.notes) == 1 and "Attempt 1 failed" in result.notes[0] and word in result.notes[0]
    assert result.psf is not None and kernel_similarity(result.psf, PSF[None, None]) > 0.999


def bordering() -> torch.Tensor:
    psf = torch.ones(11, 11)
    psf[1:-1, 1:-1] = 0
    return psf / psf.sum()


def test_when_nothing_helps_the_psf_of_strong_edges_remains(monkeypatch):
    scene, canvas = scene_of(96, 104)
    outcomes = Outcomes(monkeypatch, point_like(canvas), point_like(canvas))
    result = run(scene.blurry, restarts=1, final="none")
    assert len(outcomes.calls) == 2
    assert [note.split(":")[0] for note in result.notes[:2]] == ["Attempt 1 failed", "Attempt 2 failed"]
    assert "estimated from strong edges" in result.notes[2]
    assert result.psf is not None and kernel_similarity(result.psf, PSF[None, None]) > 0.7
    assert result.image is not None and psnr(result.image, scene.sharp) > psnr(scene.blurry, scene.sharp)


def test_of_several_pictures_only_those_in_trouble_are_fitted_again(monkeypatch):
    scenes = [scene_of(seed=seed) for seed in (1, 2, 3)]
    blurry, canvas = (torch.cat(parts) for parts in zip(*((s.blurry, c) for s, c in scenes), strict=True))
    mixed = good_fit(canvas, psf=torch.stack((PSF, delta_psf(11), PSF))[:, None])
    outcomes = Outcomes(monkeypatch, mixed, good_fit(canvas[1:2]))
    settings: Any = methods.get("selfdeblur").configure({**QUICK, "restarts": 2})
    made = attempts.fit_until_credible(Observation(blurry=blurry), blurry, settings, Progress())
    assert [len(attempt.notes) for attempt in made] == [0, 1, 0]
    assert len(outcomes.calls) == 2 and torch.equal(outcomes.calls[1]["blurry"], blurry[1:2])
    for attempt, (scene, _) in zip(made, scenes, strict=True):
        assert attempt.image is not None and attempt.image.shape == scene.blurry.shape


@pytest.mark.parametrize("side", [3, 5, 9])
def test_an_even_psf_of_any_size_is_no_failure(side):
    even = torch.full((1, 1, side, side), 1 / side**2)
    target = scene_of()[0].blurry
    assert attempts._trouble(Fit(target, even, torch.zeros(1)), target) is None


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-2, 2)], ids=str)
def test_a_shift_both_networks_agree_on_is_undone(shift):
    wide, canvas = pad_psf(PSF, 17), structured_picture(64, 68)
    scene = observe(canvas, wide)
    moved = Fit(canvas.roll([-s for s in shift], (-2, -1)), wide.roll(shift, (0, 1))[None, None], torch.zeros(1))
    image, psf = attempts._centred(moved, scene.blurry)
    assert image.shape == scene.blurry.shape
    assert psf.shape[-2] % 2 == psf.shape[-1] % 2 == 1 and float(psf.sum()) == pytest.approx(1)
    centre = psf_centroid(psf[0, 0])
    assert max(abs(c - side // 2) for c, side in zip(centre, psf.shape[-2:], strict=True)) <= 0.5
    torch.testing.assert_close(image[..., 4:-4, 4:-4], scene.sharp[..., 4:-4, 4:-4])  # the rim has wrapped around
    rim = psf.shape[-1] // 2 - 8
    torch.testing.assert_close(psf[0, 0], pad_psf(wide, 17 + 2 * rim))


# --- photos ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["luminance", "rgb"])
def test_a_large_picture_is_fitted_on_an_area_and_deconvolved_as_a_whole(monkeypatch, colour):
    monkeypatch.setattr(attempts, "FITTED_WHOLE_UP_TO", 64 * 64)
    monkeypatch.setattr(attempts, "FITTED_AREA", 48)
    tiles = []
    monkeypatch.setattr(selfdeblur, "WHOLE_UP_TO", 64 * 64)
    tiled = selfdeblur.tiled
    monkeypatch.setattr(selfdeblur, "tiled", lambda *args, **kw: tiles.append(1) or tiled(*args, **kw, tile=64))
    scene = blurred_scene(112, 130, 3, sigma=0.003, psf=PSF)
    picture = scene.blurry.clone()
    picture[..., :60, :] = picture[..., :1, :1]  # nothing to see there
    channels = 3 if colour == "rgb" else 1
    outcomes = Outcomes(monkeypatch, good_fit(scene_of(48, 48, channels)[1]))
    result = run(picture, colour=colour, final="none")
    area = outcomes.calls[0]["blurry"]
    assert area.shape == (1, channels, 48, 48)
    source = luminance(picture) if colour == "luminance" else picture
    places = source[:, :1].unfold(-2, 48, 1).unfold(-2, 48, 1)[0, 0]  # (65, 83, 48, 48)
    found = (places == area[0, 0]).all(-1).all(-1).nonzero()
    assert len(found) and int(found[0, 0]) >= 32, "the area is one with edges"
    assert tiles and result.image is not None and result.image.shape == picture.shape
    assert psnr(result.image[..., 76:, :], scene.sharp[..., 76:, :]) > psnr(
        picture[..., 76:, :], scene.sharp[..., 76:, :]
    )
    assert "fitted to the most detailed 48 px" in result.notes[0]


@pytest.mark.parametrize("colour", ["luminance", "rgb"])
def test_a_colour_picture_stays_coloured(monkeypatch, colour):
    scene, canvas = scene_of(channels=3)
    Outcomes(monkeypatch, good_fit(canvas if colour == "rgb" else luminance(canvas)))
    result = run(scene.blurry, colour=colour, final="none")
    assert result.image is not None and result.image.shape == scene.sharp.shape
    assert psnr(result.image, scene.sharp) > (100 if colour == "rgb" else 25)
    torch.testing.assert_close(luminance(result.image), luminance(scene.sharp), rtol=0, atol=1e-5)


def test_what_cannot_be_deblurred_is_left_alone_and_said():
    for picture, reason in (
        (torch.rand(1, 3, 20, 60, generator=dice()), "too small"),
        (torch.full((1, 1, 40, 40), 0.3), "without any edge"),
    ):
        result = run(picture)
        assert result.image is not None and torch.equal(result.image, picture)
        assert (result.changed, result.notes) == (False, [f"Nothing was changed: the picture is {reason}."])
        assert result.psf is not None and result.psf.shape == (1, 1, 1, 1)


def test_one_hopeless_picture_of_a_batch_does_not_stop_the_others():
    hopeful = scene_of(48, 52)[0].blurry
    result = run(torch.cat((torch.full_like(hopeful, 0.4), hopeful)))
    assert result.changed and len(result.notes) >= 1
    assert result.image is not None and torch.equal(result.image[:1], torch.full_like(hopeful, 0.4))
    assert result.psf is not None and result.psf.shape[0] == 2
    assert float(result.psf[0].max()) == 1 and float(result.psf[1].max()) < 1


@pytest.mark.parametrize("network", ["dense", "shallow", "deep", "skip"])
def test_every_psf_network_is_fitted(network):
    result = run(scene_of()[0].blurry, psf_network=network)
    assert result.psf is not None and float(result.psf.sum()) == pytest.approx(1, abs=1e-5)


# --- presets --------------------------------------------------------------------------------------


def test_the_presets_are_the_paper_the_released_configuration_and_what_people_use():
    method = methods.get("selfdeblur")
    assert {*method.card.presets} == {"fast", "released", "paper"}
    configured: list[Any] = [method.configure({"preset": preset}) for preset in ("fast", "released", "paper")]
    fast, released, paper = configured
    assert fast == method.configure({}), "nobody needs to know the word"
    for published in (released, paper):
        assert (published.image, published.start, published.final) == ("network", "noise", "none")
        assert (published.learning_rate, published.psf_learning_rate) == (0.01, 1e-4)
        assert (published.width, published.non_local) == (128, 3)
    assert (released.tv, released.ssim_from) == (0.0, 0.2)
    assert (paper.tv, paper.ssim_from) == (0.1, None)


@pytest.mark.parametrize("preset", ["released", "paper"])
@pytest.mark.parametrize(
    ("channels", "iterations", "halvings"), [(1, 5000, (0.4, 0.6, 0.8)), (3, 2500, (0.64, 0.76, 0.88))]
)
def test_the_published_presets_run_the_published_schedule(monkeypatch, preset, channels, iterations, halvings):
    scene, canvas = scene_of(channels=channels)
    outcomes = Outcomes(monkeypatch, good_fit(luminance(canvas)))
    methods.get("selfdeblur")(Observation(blurry=scene.blurry, sigma=0.02), {"preset": preset, "size": 11})
    plan = outcomes.calls[0]["plan"]
    assert (plan.iterations, plan.halve_at) == (iterations, halvings)
    sigma = 0.02 * (NOISE_IN_LUMINANCE if channels == 3 else 1)  # what the networks see of a colour photo
    assert float(plan.tv) == pytest.approx(0.1 * sigma if preset == "paper" else 0.0)
    assert plan.ssim_from == (iterations // 5 if preset == "released" else None)
    assert outcomes.calls[0]["start"] is None


def test_a_network_may_begin_with_the_psf_of_strong_edges(monkeypatch):
    scene, canvas = scene_of(96, 104)
    outcomes = Outcomes(monkeypatch, good_fit(canvas))
    run(scene.blurry, start="l0_psf")
    assert kernel_similarity(outcomes.calls[0]["start"], PSF[None, None]) > 0.7
