"""The final step of `nidf`: when the noisy photo is deconvolved, with what, and what becomes of tiles and batches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from helpers import Scene, blurred_scene, copied, hook_psf, structured_picture
from unblur import methods
from unblur.imaging.psf import delta_psf, gaussian_psf, linear_motion_psf
from unblur.methods.nidf import final_step
from unblur.metrics import kernel_similarity, psnr
from unblur.pipeline import steps as pipeline
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.solvers import psf_evidence
from unblur.solvers.psf_evidence import Evidence
from unblur.solvers.psf_fit import tidy
from unblur.types import Observation, Progress, Restoration

NIDF = methods.get("nidf")
PLAIN = {"orientations": 1, "precision": "float32"}
FINAL = {**PLAIN, "final": True}
PSF = tidy(hook_psf())
SIGMA = 0.02
GOOD = Evidence(0.0, 0.3)


@pytest.fixture(scope="module")
def shaken() -> Scene:
    """One PSF everywhere, and noise; without colour, which takes less time."""
    scene = blurred_scene(128, 144, sigma=SIGMA, seed=2, psf=PSF)
    return Scene(scene.sharp.expand(-1, 3, -1, -1), scene.psf, scene.blurry.expand(-1, 3, -1, -1).contiguous())


@pytest.fixture(scope="module")
def network(shaken) -> Restoration:
    return NIDF(Observation(blurry=shaken.blurry), PLAIN)


@dataclass(frozen=True)
class Whole:
    """What the stand-in for `wiener_stack` prepares."""

    mean: Tensor


class Deconvolution:
    """A stand-in for `wiener_stack`: it adds the mean of the whole photo, and writes down what it was given."""

    def __init__(self) -> None:
        self.photos: list[Observation] = []
        self.pieces: list[Observation] = []
        self.values: list[dict] = []

    def configure(self, values):
        self.values.append(values)
        return values

    def prepare(self, observation: Observation, settings, progress):
        self.photos.append(observation)
        return observation, Whole(observation.blurry.mean())

    def restore(self, observation: Observation, settings: Whole, progress):
        self.pieces.append(observation)
        return Restoration(image=observation.blurry + settings.mean)


@pytest.fixture
def deconvolution(monkeypatch) -> Deconvolution:
    """A stand-in for the deconvolution, with a PSF that is always found and always right."""
    stand_in = Deconvolution()
    monkeypatch.setattr(final_step, "WIENER_STACK", stand_in)
    monkeypatch.setattr(final_step, "search_psf", lambda *_: PSF)
    monkeypatch.setattr(final_step, "evidence_for", lambda *_: GOOD)
    return stand_in


# --- one photo ------------------------------------------------------------------------------------


def test_a_shaken_photo_is_better_with_the_final_step():
    shaken = blurred_scene(180, 200, 3, sigma=SIGMA, seed=2, psf=PSF)
    network = NIDF(Observation(blurry=shaken.blurry), PLAIN)
    observation = Observation(blurry=shaken.blurry, sigma=SIGMA)
    before = copied(observation)
    result = NIDF(observation, FINAL)
    assert psnr(result.image, shaken.sharp) > psnr(network.image, shaken.sharp) + 1
    assert kernel_similarity(result.psf, shaken.psf) > 0.7
    assert set(result.stages) == {"denoised", "network"}
    assert torch.equal(result.stages["network"], network.image)
    assert torch.equal(result.stages["denoised"], network.stages["denoised"])
    assert torch.equal(observation.blurry, before.blurry) and observation.psf is None


@pytest.mark.parametrize("kind", ["sharp", "moving"])
def test_a_sharp_or_moving_scene_is_what_the_network_makes_of_it(kind):
    psfs = (delta_psf(),) if kind == "sharp" else (PSF, linear_motion_psf(11, 120.0))
    halves = [blurred_scene(128, 144, 3, sigma=SIGMA, seed=2, psf=psf).blurry for psf in psfs]
    photo = torch.cat((halves[0][..., :72], halves[-1][..., 72:]), -1)
    result = NIDF(Observation(blurry=photo, sigma=SIGMA), FINAL)
    assert torch.equal(result.image, NIDF(Observation(blurry=photo), PLAIN).image)
    assert result.psf is None and set(result.stages) == {"denoised"}


@pytest.mark.parametrize(
    ("evidence", "used"),
    [
        (Evidence(0.0, 0.3), True),
        (Evidence(0.25, 0.1), True),
        (Evidence(0.26, 0.3), False),
        (Evidence(0.0, 0.09), False),
        (Evidence(1.0, -0.3), False),
    ],
)
def test_it_depends_on_how_well_the_psf_explains_the_photo(shaken, network, deconvolution, monkeypatch, evidence, used):
    monkeypatch.setattr(final_step, "evidence_for", lambda *_: evidence)
    image = NIDF(Observation(blurry=shaken.blurry), FINAL).image
    assert torch.equal(image, network.image) != used
    assert bool(deconvolution.pieces) == used


def test_a_photo_too_small_to_check_the_psf_is_what_the_network_makes_of_it(deconvolution):
    for side, used in ((64 + 2 * 6 - 1, False), (64 + 2 * 6, True)):  # a tile, and the half of the PSF on each side
        photo = structured_picture(side, side + 5, 3)
        result = NIDF(Observation(blurry=photo), FINAL)
        assert (result.psf is not None) == used
        assert torch.equal(result.image, NIDF(Observation(blurry=photo), PLAIN).image) != used


def test_the_psf_of_no_blur_is_not_used(shaken, deconvolution, monkeypatch):
    monkeypatch.setattr(final_step, "search_psf", lambda *_: delta_psf())
    assert NIDF(Observation(blurry=shaken.blurry), FINAL).psf is None


def test_the_noisy_photo_is_deconvolved_and_averaged_with_the_networks_picture(shaken, network, deconvolution):
    given = Observation(blurry=shaken.blurry, psf=gaussian_psf(1.0)[None, None], sigma=SIGMA)
    result = NIDF(given, FINAL)
    (photo,), (piece,) = deconvolution.photos, deconvolution.pieces
    for seen in (photo, piece):
        assert torch.equal(seen.blurry, shaken.blurry) and torch.equal(seen.psf[0, 0], PSF)
        assert (seen.sigma, seen.psf_estimated) == (SIGMA, True)
    assert deconvolution.values == [{"precision": "float32"}]
    weight = final_step._WEIGHT
    expected = (1 - weight) * network.image + weight * (shaken.blurry + shaken.blurry.mean())
    torch.testing.assert_close(result.image, expected)


def test_the_psf_is_estimated_from_the_pictures_of_both_networks(shaken, network, deconvolution, monkeypatch):
    given = []
    monkeypatch.setattr(final_step, "search_psf", lambda *args: given.append((args[0], args[3])) or PSF)
    NIDF(Observation(blurry=shaken.blurry), FINAL)
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    for grey, picture in zip(given[0], (network.stages["denoised"], network.image), strict=True):
        torch.testing.assert_close(grey, (weights * picture).sum(1, keepdim=True))


# --- batches, sizes, tiles ------------------------------------------------------------------------


def test_a_batch_is_restored_picture_by_picture(shaken, deconvolution, monkeypatch):
    monkeypatch.setattr(final_step, "evidence_for", lambda grey, psf: Evidence(float(grey.mean() > 0.5), 0.3))
    dark, bright = 0.5 * shaken.blurry, 0.5 * shaken.blurry + 0.5
    batch = NIDF(Observation(blurry=torch.cat((dark, bright)), sigma=SIGMA), FINAL)
    alone = [NIDF(Observation(blurry=picture, sigma=SIGMA), FINAL) for picture in (dark, bright)]
    assert [one.psf is not None for one in alone] == [True, False]
    torch.testing.assert_close(batch.image, torch.cat([one.image for one in alone]))
    torch.testing.assert_close(batch.stages["denoised"], torch.cat([one.stages["denoised"] for one in alone]))
    torch.testing.assert_close(batch.stages["network"], torch.cat((alone[0].stages["network"], alone[1].image)))


def through_the_pipeline(photo: Tensor) -> Tensor:
    options = Options(method="nidf", settings=FINAL, force=True)
    return restore_picture(Observation(blurry=photo, sigma=SIGMA), options, Progress()).image


@pytest.mark.parametrize("channels", [1, 3])
def test_no_row_or_column_is_added_to_the_photo_that_is_deconvolved(deconvolution, channels):
    photo = blurred_scene(101, 119, channels, sigma=SIGMA, psf=PSF).blurry
    image = through_the_pipeline(photo)
    assert image.shape == photo.shape
    (piece,) = deconvolution.pieces
    assert piece.blurry.shape == (1, 3, 101, 119)


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_of_a_large_photo_have_one_psf_and_one_preparation(deconvolution, monkeypatch, channels):
    photo = blurred_scene(117, 281, channels, sigma=SIGMA, psf=PSF).blurry
    whole = through_the_pipeline(photo)
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(pipeline, "TILE", 96)
    deconvolution.pieces.clear(), deconvolution.photos.clear()
    tiled = through_the_pipeline(photo)
    (prepared,) = deconvolution.photos
    assert prepared.blurry.shape == photo.shape, "what depends on the whole photo is computed from all of it"
    assert len(deconvolution.pieces) == 2 * 3
    assert all(torch.equal(piece.psf[0, 0], PSF) for piece in deconvolution.pieces)
    assert psnr(tiled, whole) > 55


def test_tiles_of_a_large_photo_without_credible_psf_have_no_final_step(deconvolution, monkeypatch):
    monkeypatch.setattr(final_step, "evidence_for", lambda *_: Evidence(1.0, -0.3))
    photo = blurred_scene(117, 150, 3, sigma=SIGMA, psf=PSF).blurry
    whole = NIDF(Observation(blurry=photo), PLAIN).image
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(pipeline, "TILE", 96)
    assert psnr(through_the_pipeline(photo), whole) > 55
    assert not deconvolution.photos and not deconvolution.pieces


def test_a_large_photo_holds_a_tile_in_one_of_its_areas(monkeypatch):
    monkeypatch.setattr(psf_evidence, "_WHOLE_UP_TO", 1000)
    grey = structured_picture(270, 300)
    assert psf_evidence.holds_a_tile(grey, PSF)  # areas of 90 x 100 px
    assert not psf_evidence.holds_a_tile(grey[..., :210, :], PSF)  # of 70 x 100 px
    assert not psf_evidence.holds_a_tile(grey, torch.ones(31, 31) / 31**2)


def test_the_settings_of_a_photo_serve_its_tiles(shaken, deconvolution):
    observation, settings = NIDF.prepare(Observation(blurry=shaken.blurry), NIDF.configure(FINAL), Progress())
    tile = replace(observation, blurry=shaken.blurry[..., :64, :80])
    result = NIDF.restore(tile, settings, Progress())
    assert result.image.shape == tile.blurry.shape and torch.equal(result.psf[0, 0], PSF)
    plain, unchanged = NIDF.prepare(Observation(blurry=shaken.blurry), NIDF.configure(PLAIN), Progress())
    assert plain.psf is None and unchanged.final_step is None
