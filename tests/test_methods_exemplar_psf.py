"""The PSF from both pictures of `nidf`: by Eq. 7 or Eq. 8, from files, in chains."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from helpers import Scene, blurred_scene, structured_picture
from unblur import methods
from unblur.cli import app
from unblur.image_io import read_psf
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf, linear_motion_psf
from unblur.methods import exemplar_psf
from unblur.methods.exemplar_psf import ExemplarPsfSettings, psf_between
from unblur.metrics import kernel_similarity
from unblur.pipeline.chain import Chain
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of
from unblur.solvers.blind import estimate_psf
from unblur.solvers.spectral_ratio import spectral_ratio
from unblur.training.checkpoint import save
from unblur.types import Observation, Progress, UnblurError

METHOD = methods.get("exemplar_psf")


@pytest.fixture(scope="module")
def grey() -> Scene:
    return blurred_scene(96, 120, sigma=0.003)


def between(denoised, sharp, **settings):
    return psf_between(denoised, sharp, ExemplarPsfSettings(**settings), Progress())


class Networks:
    """In place of the networks: `B1` is the photo, and `I1` the sharp picture if there is one."""

    def __init__(self, sharp: torch.Tensor | None = None) -> None:
        self.sharp = sharp
        self.calls: list[tuple[torch.Tensor, dict]] = []

    def __call__(self, noisy, weights, **more):
        self.calls.append((noisy, more))
        return noisy, noisy if self.sharp is None else self.sharp


@pytest.fixture
def networks(monkeypatch) -> Networks:
    stand_in = Networks()
    monkeypatch.setattr(exemplar_psf, "denoise_and_deblur", stand_in)
    return stand_in


# --- both equations -------------------------------------------------------------------------------


def test_eq_8_is_the_blind_search_with_the_sharp_picture_as_exemplar(grey):
    found = between(grey.blurry, grey.sharp, size=15, iterations=2, sparsity=0.004, smoothness=0.5, exemplar_weight=0.1)
    expected = estimate_psf(
        grey.blurry, size=15, weight=2.0, smoothness=0.5, iterations=2, exemplar=grey.sharp, exemplar_weight=0.1
    )
    assert torch.equal(found, expected)


def test_eq_7_is_the_ratio_of_the_spectra_centred_and_cropped(grey):
    found = between(grey.blurry, grey.sharp, equation="ratio", size=17, regularisation=0.01)
    ratio = spectral_ratio(grey.blurry, grey.sharp, 17, 0.01)
    assert all(side % 2 and side <= 17 for side in found.shape)
    assert float(kernel_similarity(found, ratio)) == pytest.approx(1, abs=1e-4)


def test_eq_7_finds_the_true_psf_between_a_noise_free_and_the_sharp_picture():
    scene = blurred_scene(96, 120, sigma=0.0)
    psf = between(scene.blurry, scene.sharp, equation="ratio", regularisation=1e-3)
    assert kernel_similarity(psf, scene.psf) > 0.95 > kernel_similarity(psf, scene.psf.flip(-2, -1)) + 0.05


def test_eq_8_with_an_exemplar_that_is_slightly_blurred_beats_eq_7_with_it():
    """The blur left in `I1` is missing in the PSF of Eq. 7; Eq. 8 has a latent picture with sharper edges."""
    scene = blurred_scene(96, 120, sigma=0.0)
    exemplar = convolve(scene.sharp, gaussian_psf(1.0))
    of_ratio = max(
        float(
            kernel_similarity(between(scene.blurry, exemplar, equation="ratio", size=15, regularisation=r), scene.psf)
        )
        for r in (1e-2, 0.1)
    )
    of_exemplar = float(kernel_similarity(between(scene.blurry, exemplar, size=15, iterations=3), scene.psf))
    assert of_exemplar > of_ratio + 0.01


@pytest.mark.parametrize(
    ("equation", "size", "largest"), [("ratio", None, 51), ("ratio", 10, 11), ("exemplar", 10, 11)]
)
def test_a_psf_is_at_most_as_large_as_it_may_be(equation, size, largest):
    scene = blurred_scene(96, 120, sigma=0.003, psf=linear_motion_psf(7, 30.0))
    psf = between(scene.blurry, scene.sharp, equation=equation, size=size, iterations=1)
    assert all(side % 2 and side <= largest for side in psf.shape)


def test_in_a_small_picture_a_psf_fits():
    scene = blurred_scene(34, 40, sigma=0.003)
    for equation in ("exemplar", "ratio"):
        psf = between(scene.blurry, scene.sharp, equation=equation, size=301, iterations=1)
        assert max(psf.shape) <= 34 and float(psf.sum()) == pytest.approx(1, abs=1e-5)


# --- photos ---------------------------------------------------------------------------------------


def test_the_networks_see_the_colours_and_the_psf_is_that_of_the_luminance(networks):
    scene = blurred_scene(90, 101, 3, sigma=0.003)
    networks.sharp = scene.sharp
    settings = {"size": 15, "iterations": 2, "orientations": 3, "precision": "float32"}
    psf = METHOD(Observation(blurry=scene.blurry), settings).psf
    ((seen, more),) = networks.calls
    assert torch.equal(seen, scene.blurry)
    assert (more["orientations"], more["precision"]) == (3, "float32")
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    blurry, sharp = ((weights * picture).sum(1, keepdim=True) for picture in (scene.blurry, scene.sharp))
    assert kernel_similarity(psf, between(blurry, sharp, size=15, iterations=2)) > 0.999


def test_noise_is_removed_before_the_psf_is_estimated():
    """The networks and the search together, on noise that hides the edges from the search alone."""
    scene = blurred_scene(128, 144, 3, sigma=0.1)
    psf = METHOD(Observation(blurry=scene.blurry), {"size": 15, "iterations": 3, "orientations": 1}).psf
    alone = methods.get("l0_psf")(Observation(blurry=scene.blurry), {"size": 15, "iterations": 3}).psf
    assert kernel_similarity(psf, scene.psf) > kernel_similarity(alone, scene.psf) + 0.02


@pytest.mark.parametrize("channels", [1, 3])
def test_through_the_pipeline_a_photo_keeps_its_colours_and_its_size(networks, channels):
    photo = blurred_scene(50, 61, channels, sigma=0.003).blurry
    options = Options(method="exemplar_psf", psf_size=9, settings={"iterations": 1})
    found = estimate_psf_of(Observation(blurry=photo), options, Progress())
    ((seen, _),) = networks.calls
    assert torch.equal(seen, photo.expand(-1, 3, -1, -1))
    assert found.psf is not None and max(found.psf.shape) <= 9


def test_of_a_large_photo_a_part_is_used(networks, monkeypatch):
    monkeypatch.setattr("unblur.methods.nidf.restoring.PART", 64)
    photo = torch.full((1, 3, 100, 200), 0.5)
    photo[..., 100:164] = structured_picture(100, 64, 3)
    METHOD(Observation(blurry=photo), {"size": 9, "iterations": 1})
    ((seen, _),) = networks.calls
    assert seen.shape == (1, 3, 64, 64) and seen.std() > 0.05


def test_unblur_psf_estimates_it_from_the_colours_of_a_file(networks, tmp_path):
    pixels = (255 * blurred_scene(64, 80, 3, sigma=0.01).blurry[0].movedim(0, -1)).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arguments = ["psf", tmp_path / "a.png", "-o", tmp_path / "a.npy", "--method", "exemplar_psf", "--psf-size", 11]
    result = CliRunner().invoke(app, [str(argument) for argument in [*arguments, "--set", "iterations=2"]])
    assert result.exit_code == 0, result.output
    assert "estimated by exemplar_psf" in result.stdout
    psf = read_psf(tmp_path / "a.npy")
    assert max(psf.shape) <= 11 and float(psf.sum()) == pytest.approx(1, abs=1e-5)
    ((seen, _),) = networks.calls
    np.testing.assert_allclose(seen[0].movedim(0, -1).numpy() * 255, pixels, atol=1e-3)


def test_in_a_chain_the_noisy_photo_is_deconvolved_with_its_psf(networks):
    scene = blurred_scene(64, 72, 3, sigma=0.01)
    networks.sharp = scene.sharp
    settings = {"exemplar_psf.size": 13, "exemplar_psf.iterations": 3, "exemplar_psf.exemplar_weight": 1.0}
    result = Chain.parse("exemplar_psf+hyper_laplacian", settings)(Observation(blurry=scene.blurry, sigma=0.01))
    known = methods.get("hyper_laplacian")(Observation(blurry=scene.blurry, psf=result.psf, sigma=0.01))
    torch.testing.assert_close(result.image, known.image, atol=1e-5, rtol=0)


def test_its_networks_are_those_of_nidf(tmp_path):
    assert METHOD.trained is methods.get("nidf").trained
    weights = tmp_path / "x.safetensors"
    save(weights, {"x": torch.zeros(1)}, {"method": "two_way", "network": {}})
    with pytest.raises(UnblurError, match=r"not weights of 'nidf'. `unblur train nidf` makes them"):
        METHOD(Observation(blurry=structured_picture(40, 48, 3)), {"weights": weights})
