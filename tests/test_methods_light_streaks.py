"""Night photos: the lights draw the path of the camera, and what they draw alike is the PSF."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch

from helpers import structured_picture
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import quantise
from unblur.imaging.psf import gaussian_psf, psf_centroid
from unblur.imaging.synthesis.camera import to_linear, to_srgb
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import kernel_similarity
from unblur.pipeline.judge import judge
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of, restore_picture
from unblur.solvers import light_streaks as solver
from unblur.solvers.light_streaks import Copies, bright_lines, shows, streak_psf
from unblur.solvers.tiles import tiled
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

SIDE = 400
LAMPS = ((50, 60), (60, 330), (120, 110), (340, 50), (330, 350), (70, 200))
SHAKE = shake_psf(torch.Generator().manual_seed(5), 21)


def night(lamps=LAMPS, brightness=12.0):
    """A dark scene with small lamps, in linear light: `(1, 3, SIDE, SIDE)`."""
    light = 0.15 * to_linear(structured_picture(SIDE, SIDE, 3, seed=2))
    for row, column in lamps:
        light[..., row : row + 2, column : column + 2] = brightness
    return light


def photo(light, psf=None, sigma=0.003):
    seen = to_srgb((light if psf is None else convolve(light, psf)).clamp(0, 1))
    noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(1))
    return quantise(seen + sigma * noise, clip=True)


@pytest.fixture(scope="module")
def shaken():
    return photo(night(), SHAKE)


@pytest.fixture(scope="module")
def found(shaken):
    return methods.get("light_streaks")(Observation(blurry=shaken))


def test_the_psf_is_the_line_that_the_lamps_draw(found):
    assert found.changed and not found.notes
    likeness = kernel_similarity(found.psf[0, 0], SHAKE)
    assert likeness > 0.75  # it is wider, by the size of the lamps
    assert likeness > kernel_similarity(found.psf[0, 0], SHAKE.flip(0, 1)) + 0.05


def test_the_scene_is_restored(shaken, found):
    sharp = photo(night(), sigma=0)
    lamps = torch.nn.functional.max_pool2d((sharp.amax(1, keepdim=True) > 0.9).float(), 41, 1, 20) > 0
    errors = [(one - sharp)[~lamps.expand_as(sharp)].square().mean() for one in (shaken, found.image)]
    assert errors[1] < 0.7 * errors[0]


def test_auto_chooses_it_and_says_why(shaken, found):
    result = restore_picture(Observation(blurry=shaken), Options(), Progress())
    assert result.method == "light_streaks" and result.changed
    assert result.reason == "several lights draw the same line, the path of the camera"
    torch.testing.assert_close(result.psf, found.psf[0, 0])


def test_a_higher_strength_is_smoother(shaken, found):
    smoother = methods.get("light_streaks")(Observation(blurry=shaken), {"strength": 30.0})
    slopes = [made.image.diff(dim=-1).square().mean() for made in (found, smoother)]
    assert slopes[1] < slopes[0]
    assert torch.equal(smoother.psf, found.psf)


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("no lamps", lambda: photo(night(()), SHAKE)),
        ("three lamps", lambda: photo(night(LAMPS[:3]), SHAKE)),
        ("a sharp photo", lambda: photo(night())),
        ("a defocused one", lambda: photo(night(), gaussian_psf(4.0))),
        ("a bright scene", lambda: photo(to_linear(structured_picture(SIDE, SIDE, 3, seed=2)), SHAKE)),
    ],
)
def test_without_lines_that_are_alike_there_is_no_psf_and_nothing_is_changed(name, picture):
    blurry = picture()
    made = methods.get("light_streaks")(Observation(blurry=blurry))
    assert len(made.notes) == 1 and made.notes[0].startswith("No PSF was found in lights")
    assert not made.changed and torch.equal(made.image, blurry) and made.psf.numel() == 1


def letters(count, faint=0, side=512):
    """A sharp photo of letters L: bright ones before a dark background, and some that are too faint to be found."""
    light = 0.05 * to_linear(structured_picture(side, side, 3, seed=3))
    places = [(row, column) for row in range(12, side - 30, 44) for column in range(12, side - 30, 44)]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0)).tolist()
    for number, place in enumerate(order[: count + faint]):
        (row, column), value = places[place], 0.7 if number < count else 0.025
        for rows, columns in (
            (slice(row, row + 18), slice(column, column + 3)),
            (slice(row + 15, row + 18), slice(column, column + 12)),
        ):
            light[..., rows, columns] = light[..., rows, columns].clamp_min(value)
    return photo(light)


@pytest.mark.parametrize(("count", "faint"), [(6, 0), (100, 0), (6, 60)])
def test_a_sharp_photo_of_letters_that_are_alike_is_left_alone(count, faint):
    picture = letters(count, faint).mean(1, keepdim=True)
    assert len(bright_lines(Copies.of(picture), 0.5)) == count
    assert streak_psf(picture) is None


def test_a_psf_from_edges_that_is_told_better_from_its_turned_copy_is_preferred(monkeypatch, shaken):
    grey = shaken.mean(1, keepdim=True)
    monkeypatch.setattr(solver, "_CERTAIN", 9.0)
    monkeypatch.setattr(solver, "estimate_psf", lambda grey, progress: SHAKE.flip(0, 1))
    assert streak_psf(grey) is not None
    monkeypatch.setattr(solver, "estimate_psf", lambda grey, progress: SHAKE)
    assert streak_psf(grey) is None


def test_the_search_for_that_psf_can_be_cancelled(monkeypatch, shaken):
    class Stopping(Progress):
        def on_advance(self, steps, figures):
            self.cancel()

    monkeypatch.setattr(solver, "_CERTAIN", 9.0)
    with pytest.raises(Cancelled):
        streak_psf(shaken.mean(1, keepdim=True), Stopping())


def test_a_large_photo_is_restored_in_tiles(monkeypatch, shaken, found):
    monkeypatch.setattr("unblur.methods.light_streaks.tiled", partial(tiled, tile=208))
    made = methods.get("light_streaks")(Observation(blurry=shaken))
    # Clipped lights and what is below them are not fitted, so there the results may differ.
    fitted = ~(torch.nn.functional.max_pool2d((shaken.amax(1, keepdim=True) > 0.9).float(), 41, 1, 20) > 0)
    difference = (made.image - found.image).abs()[fitted.expand_as(shaken)]
    assert difference.max() > 0 and difference.square().mean().sqrt() < 0.002


def test_things_like_a_line_are_found_bright_and_faint():
    picture = letters(6, 60).mean(1, keepdim=True)
    letter = torch.zeros(19, 13)
    letter[:18, :3] = letter[15:18, :12] = 1
    marked = shows(picture, letter / letter.sum()).float().mean()
    assert 0.5 * 66 * 19 * 13 < marked * picture.numel() < 0.5 * picture.numel()
    assert not shows(torch.full((1, 1, 60, 60), 0.3), letter / letter.sum()).any()


def test_the_psf_is_centred_so_that_the_result_stays_in_its_place(found):
    assert all(
        abs(at - side // 2) <= 0.5 for at, side in zip(psf_centroid(found.psf[0, 0]), found.psf.shape[-2:], strict=True)
    )


def test_the_psf_alone_is_believed_too(shaken, found):
    options = Options(method="light_streaks")
    alone = estimate_psf_of(Observation(blurry=shaken), options, Progress())
    assert alone.changed and not alone.notes
    torch.testing.assert_close(alone.psf, found.psf[0, 0])
    with pytest.raises(UnblurError, match="a region is of no use"):
        estimate_psf_of(Observation(blurry=shaken), replace(options, region=(0, 0, 90, 90)), Progress())
    with pytest.raises(UnblurError, match="a PSF size is of no use"):
        estimate_psf_of(Observation(blurry=shaken), replace(options, psf_size=21), Progress())


@pytest.mark.parametrize("options", [{"region": (40, 40, 300, 300)}, {"psf_size": 21}])
def test_auto_uses_another_estimator_where_a_region_or_a_size_is_given(options):
    (chain, _), *_ = Options(**options).plans({"blurry"}, 0.0, streaks=True)
    assert chain.name == "l0_psf+wiener_stack"


def test_more_noise_makes_it_smoother(shaken, found):
    noisier = methods.get("light_streaks")(Observation(blurry=shaken, sigma=0.08))
    slopes = [made.image.diff(dim=-1).square().mean() for made in (found, noisier)]
    assert slopes[1] < slopes[0]


def test_a_batch_gives_each_picture_its_own_psf(shaken, found):
    other = shaken.transpose(-1, -2).contiguous()
    made = methods.get("light_streaks")(Observation(blurry=torch.cat((shaken, other))))
    sides = [(have - want) // 2 for have, want in zip(made.psf.shape[-2:], found.psf.shape[-2:], strict=True)]
    padded = torch.nn.functional.pad(found.psf, (sides[1], sides[1], sides[0], sides[0]))
    torch.testing.assert_close(made.psf[:1], padded)
    torch.testing.assert_close(made.image[0], found.image[0], atol=5e-3, rtol=0)
    assert kernel_similarity(made.psf[1, 0], SHAKE.T) > 0.75


def test_a_method_with_evidence_of_its_own_is_not_asked_whether_the_photo_is_sharp():
    sharp = structured_picture(96, 96, 3)
    asked, trusted = (
        judge(Observation(blurry=sharp), Restoration(), frozenset({"blur"}), 0.0, Progress(), has_evidence=evidence)
        for evidence in (False, True)
    )
    assert asked is not None and "does not look blurred" in asked
    assert trusted is None


def test_but_its_picture_is_judged_like_any_other():
    photo_ = structured_picture(96, 96, 3)
    reason = judge(
        Observation(blurry=photo_),
        Restoration(image=photo_ * 0.5, psf=SHAKE[None, None]),
        frozenset({"blur"}),
        0.0,
        Progress(),
        has_evidence=True,
    )
    assert reason is not None and "another brightness" in reason
