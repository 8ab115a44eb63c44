"""What is estimated on what, in which pieces, and when a picture is better left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fakes import PSF, brightening, estimating, fake_method
from helpers import CountingProgress, blurred_scene, hook_psf, structured_picture
from unblur.contract import Card, Method, Settings
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf, pad_psf
from unblur.pipeline import steps as pipeline
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of, restore_picture
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

PICTURE = structured_picture(60, 80, channels=3)
GIVEN = PSF[None, None]


def restored(options: Options, picture=PICTURE, **known):
    return restore_picture(Observation(blurry=picture, **known), options, Progress())


def blind_chain(tmp_path, body: str) -> str:
    """An estimator followed by a method whose `restore` is `body`."""
    return f"{estimating(tmp_path)}+{fake_method(tmp_path, 'second', body, needs=('blurry', 'psf'))}"


def test_luminance_is_rec_601_and_leaves_grey_alone():
    rgb = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    assert luminance(rgb).item() == pytest.approx(0.299 + 0.5 * 0.587 + 0.25 * 0.114)
    grey = torch.rand(1, 1, 4, 4)
    assert luminance(grey) is grey


# --- a PSF that is known --------------------------------------------------------------------------


def test_it_is_said_when_the_psf_that_was_given_was_corrected():
    scene = blurred_scene(60, 80, channels=3, sigma=0.005)
    thick = convolve(scene.psf, gaussian_psf(0.7), "zero")
    result = restored(Options(settings={"psf_is": "estimated"}), scene.blurry, psf=thick)
    (note,) = result.notes
    share = (result.psf - pad_psf(thick[0, 0] / thick.sum(), result.psf.shape)).abs().sum() / 2
    assert note == f"wiener_stack corrected the PSF that was given: {share:.0%} of its light lies elsewhere now."


@pytest.mark.parametrize("refinements", [0, 2])
def test_a_known_psf_restores_and_is_used_as_it_is_if_one_says_so(refinements):
    scene = blurred_scene(60, 80, channels=3, sigma=0.005)
    result = restored(Options(settings={"refinements": refinements}), scene.blurry, psf=scene.psf)
    before, after = ((scene.sharp - image).square().mean() for image in (scene.blurry, result.image))
    assert after < before / 2
    assert (result.method, result.reason, result.changed) == ("wiener_stack", "the PSF was given", True)
    assert torch.equal(result.psf, scene.psf[0, 0]) == (refinements == 0)
    assert result.notes == []
    torch.testing.assert_close(result.psf, pad_psf(scene.psf[0, 0], result.psf.shape), atol=0.02, rtol=0)


def test_a_psf_that_a_person_gave_is_not_doubted(tmp_path):
    """The photo is sharp, and the PSF a single point."""
    body = (
        "b = observation.blurry; return Restoration(image=b + 0.2 * (b - torch.nn.functional.avg_pool2d(b, 3, 1, 1)))"
    )
    method = fake_method(tmp_path, "sharpening", body, needs=("blurry", "psf"))
    assert restored(Options(method=method), psf=delta_psf(5)[None, None]).changed


# --- what is estimated on what --------------------------------------------------------------------


def test_a_psf_is_estimated_on_luminance_and_the_colours_are_restored(tmp_path):
    body = "b = observation.blurry; return Restoration(psf=b.new_full((1, 1, 3, 3), 1 / 9), notes=[f'{b.shape[1]}'])"
    method = fake_method(tmp_path, "telling", body, gives=("psf",), needs=("blurry", "noisy"))
    chain = f"{method}+{fake_method(tmp_path, 'second', 'return Restoration(image=observation.blurry / 2)')}"
    result = restored(Options(method=chain, force=True), noisy=PICTURE)
    assert result.notes == ["1"]
    assert result.image.shape == PICTURE.shape
    assert (result.method, result.reason) == ("telling+second", "it was asked for")


def test_every_picture_is_in_grey_where_a_psf_is_estimated(tmp_path):
    body = (
        "parts = [observation.blurry, observation.noisy, observation.frames]; "
        "return Restoration(psf=torch.ones(1, 1, 1, 1), notes=[f'{list(part.shape)}' for part in parts])"
    )
    method = fake_method(tmp_path, "telling", body, gives=("psf",), needs=("blurry", "noisy", "frames"))
    observation = Observation(blurry=PICTURE, noisy=PICTURE, frames=PICTURE[:, None].expand(-1, 4, -1, -1, -1))
    found = estimate_psf_of(observation, Options(method=method), Progress())
    assert found.notes[-3:] == ["[1, 1, 60, 80]", "[1, 1, 60, 80]", "[1, 4, 1, 60, 80]"]


def test_the_size_of_the_psf_reaches_the_estimator(tmp_path):
    result = restored(Options(method=estimating(tmp_path), psf_size=11, force=True))
    assert result.method == "estimating+hyper_laplacian", "an estimator is followed by a non-blind method"
    assert result.psf is not None
    assert result.psf.shape == (11, 11)
    with pytest.raises(UnblurError, match="'nlm', which estimates no PSF"):
        restored(Options(method="nlm", psf_size=11))


@pytest.mark.parametrize(
    ("card", "needs", "gives", "blurred"),
    [
        ({"undoes": ("blur",)}, ("blurry",), ("image", "psf"), True),
        ({"undoes": ("blur", "noise")}, ("blurry",), ("image",), True),
        ({"undoes": ("blur",)}, ("blurry", "psf"), ("image",), True),
        ({"undoes": ("noise",)}, ("blurry",), ("image",), False),
    ],
)
def test_noise_that_jpeg_hid_is_looked_for_whenever_blur_is_undone(tmp_path, monkeypatch, card, needs, gives, blurred):
    """The card's `undoes` decides, with a psf or without."""
    asked = []
    monkeypatch.setattr(pipeline, "noise_of", lambda _picture, *, blurred=False: asked.append(blurred) or 0.03)
    body = "return Restoration(image=observation.blurry + observation.sigma, psf=torch.ones(1, 1, 1, 1))"
    method = fake_method(tmp_path, "own", body, needs=needs, gives=gives, **card)
    result = restored(Options(method=method, force=True), psf=GIVEN if "psf" in needs else None)
    torch.testing.assert_close(result.image, PICTURE + 0.03)
    assert set(asked) == {blurred}


# --- no harm --------------------------------------------------------------------------------------


SHARP = structured_picture(96, 112)
SHAKEN = blurred_scene(160, 176, sigma=0.005)


@pytest.mark.parametrize("gives", [("image",), ("image", "psf"), ("psf",)])
def test_a_sharp_photo_is_left_alone_by_whatever_undoes_blur_or_looks_for_it(tmp_path, gives):
    """A network without a PSF among them."""
    method = fake_method(tmp_path, "any", "raise AssertionError('it was run')", gives=gives)
    result = restored(Options(method=method), SHARP)
    assert result.image is SHARP
    assert (result.changed, result.notes) == (
        False,
        ["The photo does not look blurred: it has detail down to single pixels."],
    )


def test_a_denoiser_may_work_on_a_sharp_photo(tmp_path):
    body = "return Restoration(image=observation.blurry * 0.99)"
    method = fake_method(tmp_path, "denoising", body, undoes=("noise",))
    torch.testing.assert_close(restored(Options(method=method), SHARP).image, SHARP * 0.99)


def test_a_psf_that_is_not_credible_ends_the_work_and_is_told(tmp_path):
    """Whether a step gives a PSF alone, or a picture with it."""
    body = "return Restoration(image=observation.blurry, psf=torch.ones(1, 1, 1, 1))"
    for gives in (("psf",), ("image", "psf")):
        method = fake_method(tmp_path, "pointing", body, gives=gives)
        result = restored(Options(method=method), SHAKEN.blurry)
        assert (result.changed, result.image is SHAKEN.blurry) == (False, True)
        assert result.notes == ["The photo does not look blurred: its estimated PSF is a single point."]
        assert torch.equal(result.psf, torch.ones(1, 1)), "what was found is still told"
        assert restored(Options(method=method, force=True), SHAKEN.blurry).changed


def test_a_restoration_that_is_not_credible_is_not_kept(tmp_path):
    chain = blind_chain(tmp_path, "return Restoration(image=observation.blurry * 0)")
    result = restored(Options(method=chain), SHAKEN.blurry)
    assert not result.changed
    assert "No credible PSF was found" in result.notes[0]
    assert restored(Options(method=chain, force=True), SHAKEN.blurry).changed


def test_a_shaken_photo_is_restored(tmp_path):
    body = f"return Restoration(psf=torch.tensor({hook_psf().tolist()})[None, None])"
    method = fake_method(tmp_path, "knowing", body, gives=("psf",))
    result = restored(Options(method=f"{method}+hyper_laplacian"), SHAKEN.blurry)
    before, after = ((SHAKEN.sharp - image).square().mean() for image in (SHAKEN.blurry, result.image))
    assert result.changed
    assert after < before / 3


def test_a_sigma_said_of_the_channels_is_smaller_in_the_luminance(tmp_path):
    body = "return Restoration(psf=torch.ones(1, 1, 1, 1), notes=[str(observation.sigma)])"
    method = fake_method(tmp_path, "telling", body, gives=("psf",))
    found = restored(Options(method=method, force=True), sigma=0.03)
    assert float(found.notes[0]) == pytest.approx(0.03 * (0.299**2 + 0.587**2 + 0.114**2) ** 0.5)


def test_what_a_method_left_alone_is_kept_with_its_reason(tmp_path):
    body = "return Restoration(image=observation.blurry, changed=False, notes=['It was fine.'])"
    result = restored(Options(method=fake_method(tmp_path, "content", body, undoes=("noise",))))
    assert result.image is PICTURE
    assert (result.changed, result.notes) == (False, ["It was fine."])


def test_strength_goes_part_of_the_way(tmp_path):
    method = brightening(tmp_path)
    torch.testing.assert_close(restored(Options(method=method, strength=0.25, force=True)).image, PICTURE + 0.025)
    untouched = restored(Options(method=method, strength=0))
    assert untouched.image is PICTURE
    assert not untouched.changed


# --- pieces, channels and sides -------------------------------------------------------------------


tiled = pipeline.tiled


@pytest.mark.parametrize(
    ("card", "pieces", "halo"), [("tiling=True", 4, 32), ("tiling=True, reach=50", 4, 50), ("", 1, 0)]
)
def test_a_large_picture_is_tiled_where_the_method_allows_and_all_tiles_have_one_sigma(
    tmp_path, monkeypatch, card, pieces, halo
):
    picture = torch.rand(1, 3, 40, 400, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 40 * 400 - 1)
    monkeypatch.setattr(pipeline, "tiled", lambda *a, **k: tiled(*a, **{**k, "tile": 100}))
    body = (
        "b = observation.blurry; "
        "return Restoration(image=b, notes=['alike', f'{b.mean()} {b.shape[3]} {observation.sigma}'])"
    )
    method = fake_method(tmp_path, "telling", body, card=card, undoes=("noise",))
    result = restored(Options(method=method), picture)
    assert result.notes.count("alike") == 1, "what all tiles say is told once"
    tiles = [note.split() for note in result.notes if note != "alike"]
    assert len(tiles) == pieces
    assert {float(sigma) for *_, sigma in tiles} == {result.sigma}
    assert max(int(width) for _, width, _ in tiles) == (400 if pieces == 1 else 100 + 16 + 2 * halo)
    torch.testing.assert_close(result.image, picture)


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
    observation = Observation(blurry=PICTURE, psf=GIVEN)
    result = pipeline._restore_image(method, observation, Settings(), Progress())
    assert len(seen) > 1 and {side for _, side in seen} == {79} == {result.psf.shape[-1]}
    assert max(width for width, _ in seen) <= 80


def test_a_circular_boundary_is_not_cut_into_tiles(monkeypatch):
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 100)
    monkeypatch.setattr(pipeline, "tiled", lambda *_, **__: pytest.fail("tiled"))
    for method in ("wiener", "richardson_lucy"):
        restored(Options(method=method, settings={"boundary": "circular"}), psf=GIVEN)


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (3, 400)])
def test_tiny_pictures_come_back_as_they_are(size, tmp_path):
    picture = torch.rand(1, 3, *size)
    for options, known in ((Options(), {"psf": GIVEN}), (Options(method=brightening(tmp_path)), {})):
        result = restored(options, picture, **known)
        assert result.image is picture
        assert not result.changed
        assert "too small" in result.notes[0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("card", ["channels=(1,)", "channels=(3,)", "multiple_of=32"])
def test_methods_get_the_channels_and_sides_they_take_of_every_picture(tmp_path, card, channels):
    body = (
        "parts = [observation.blurry, observation.noisy, *observation.frames.unbind(1)]; m = METHOD.card.multiple_of; "
        "assert all(p.shape[1] in METHOD.card.channels and p.shape[2] % m == p.shape[3] % m == 0 for p in parts); "
        "return Restoration(image=sum(parts), stages={'first': parts[0]})"
    )
    picture = PICTURE[:, :channels]
    frames = torch.stack([picture * 0.1, picture * 0.2], dim=1)
    method = fake_method(tmp_path, "picky", body, card=card, needs=("blurry", "noisy", "frames"), undoes=("noise",))
    result = restored(Options(method=method, force=True), picture, noisy=picture * 0.5, frames=frames)
    torch.testing.assert_close(result.image, picture * 1.8)
    torch.testing.assert_close(result.stages["first"], picture)


# --- what will not do -----------------------------------------------------------------------------


def test_nan_and_another_size_are_refused(tmp_path):
    for body, message in (("observation.blurry / 0 * 0", "gave NaN"), ("observation.blurry[..., 1:]", "of shape")):
        method = fake_method(tmp_path, "wrong", f"return Restoration(image={body})", undoes=("noise",))
        with pytest.raises(UnblurError, match=f"'wrong' {message}|'wrong' gave a picture {message}"):
            restored(Options(method=method, force=True))


def test_pictures_of_two_sizes_are_refused_with_both(tmp_path):
    with pytest.raises(UnblurError, match=r"blurry picture is 80 x 60 px with 3 .*, the noisy one 70 x 60 px with 3"):
        restored(Options(method=brightening(tmp_path)), noisy=PICTURE[..., 10:])


def test_a_cancellation_stops_the_work():
    progress = CountingProgress(cancel_at=1)
    with pytest.raises(Cancelled):
        restore_picture(Observation(blurry=PICTURE, psf=GIVEN), Options(), progress)


# --- the psf alone --------------------------------------------------------------------------------


def test_a_psf_by_itself_is_told_even_when_it_is_doubtful(tmp_path):
    options = Options(method=estimating(tmp_path), psf_size=5)
    found = estimate_psf_of(Observation(blurry=SHARP), options, Progress())
    assert found.psf is not None
    assert found.psf.shape == (5, 5)
    assert (found.changed, found.reason) == (False, "it was asked for")
    assert "does not look blurred" in found.notes[0]


def test_the_psf_of_a_shaken_photo_is_believed(tmp_path):
    found = estimate_psf_of(Observation(blurry=SHAKEN.blurry), Options(settings={"size": 15}), Progress())
    assert (found.changed, found.method) == (True, "l0_psf")


def test_a_psf_needs_an_estimator_and_a_picture_to_find_it_in(tmp_path):
    with pytest.raises(UnblurError, match="'nlm' estimates no PSF"):
        estimate_psf_of(Observation(blurry=PICTURE), Options(method="nlm"), Progress())
    with pytest.raises(UnblurError, match="too small"):
        estimate_psf_of(Observation(blurry=PICTURE[..., :9, :9]), Options(method=estimating(tmp_path)), Progress())


def test_a_doubt_about_a_later_step_says_whose_result_it_was_given(tmp_path):
    """Else it reads as if it were about the photo."""
    wild = fake_method(tmp_path, "wild", "return Restoration(image=observation.blurry + 0.3)", undoes=("noise",))
    result = restored(Options(f"nlm+{wild}"))
    assert result.notes[0].startswith("Restoring failed")
    assert result.notes[0].endswith("('wild' was given the result of 'nlm'.)")


def test_tiles_that_are_all_left_alone_leave_the_picture_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 100)
    body = "return Restoration(image=observation.blurry, changed=False)"
    method = fake_method(tmp_path, "content", body, card="tiling=True, tile=40", undoes=("noise",))
    assert not restored(Options(method=method)).changed


def test_the_noise_that_was_given_is_said_of_a_picture_too_small_to_restore():
    tiny = Observation(blurry=torch.rand(1, 3, 5, 5), sigma=0.02)
    assert restore_picture(tiny, Options(), Progress()).sigma == 0.02


# --- a PSF that is estimated in a part of the photo -----------------------------------------------


def sized(tmp_path) -> str:
    """A chain whose estimator finds a PSF as large as the picture that it is given, up to one pixel."""
    body = "sides = [side - 1 + side % 2 for side in observation.blurry.shape[-2:]]\n    "
    body += "return Restoration(psf=torch.ones(1, 1, *sides) / (sides[0] * sides[1]))"
    estimator = fake_method(tmp_path, "sized", body, gives=("psf",))
    body = "return Restoration(image=observation.blurry + 0.1)"
    return f"{estimator}+{fake_method(tmp_path, 'second', body, needs=('blurry', 'psf'))}"


def test_a_psf_is_estimated_in_the_region_and_the_whole_photo_is_restored(tmp_path):
    result = restored(Options(method=sized(tmp_path), region=(10, 5, 41, 33), force=True))
    assert result.psf.shape == (33, 41)
    assert torch.equal(result.image, PICTURE + 0.1)


def test_the_region_is_counted_from_the_left_and_the_top(tmp_path):
    seen = []
    body = "return Restoration(psf=torch.ones(1, 1, 3, 3) / 9, stages={'seen': observation.blurry})"
    estimator = fake_method(tmp_path, "seeing", body, gives=("psf",), card="channels=(3,)")
    result = estimate_psf_of(Observation(blurry=PICTURE), Options(method=estimator, region=(10, 5, 40, 33)), Progress())
    seen.extend(result.stages.values())
    assert torch.equal(seen[0], PICTURE[..., 5:38, 10:50])


@pytest.mark.parametrize("region", [(50, 0, 40, 40), (0, 30, 40, 40), (0, 0, 31, 40)])
def test_a_region_outside_of_the_photo_or_too_small_is_refused(tmp_path, region):
    with pytest.raises(UnblurError, match="must be inside the photo"):
        restored(Options(method=sized(tmp_path), region=region, force=True))


@pytest.mark.parametrize("region", [(-1, 0, 40, 40), (0, 0, 40, 0)])
def test_a_region_that_is_empty_is_refused(region):
    with pytest.raises(UnblurError, match="a region is left, top, width, height"):
        Options(region=region)


@pytest.mark.parametrize(("method", "given"), [("nlm", {"blurry"}), ("wiener", {"blurry", "psf"})])
def test_a_region_is_refused_where_no_psf_is_estimated(method, given):
    with pytest.raises(UnblurError, match=f"a region is of no use to '{method}'"):
        Options(method=method, region=(0, 0, 40, 40)).plan(given)


def test_with_a_region_auto_only_tries_what_estimates_a_psf():
    plans = Options(region=(0, 0, 40, 40)).plans({"blurry"}, 0.0)
    assert all("psf" in chain.gives for chain, _ in plans)
