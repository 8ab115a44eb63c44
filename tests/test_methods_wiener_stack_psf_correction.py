"""`wiener_stack` corrects a PSF that is slightly wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import blurred_scene
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf, pad_psf, psf_centroid
from unblur.metrics import psnr
from unblur.types import Observation, Progress

RAW = {"refinements": 0}  # the PSF is used as it is


def too_thick(psf: torch.Tensor) -> torch.Tensor:
    """A PSF as estimates often are."""
    return convolve(psf, gaussian_psf(0.7), "zero")


def too_bright_at_both_ends(psf: torch.Tensor) -> torch.Tensor:
    wrong = psf * (0.6 + 0.8 * torch.linspace(-1, 1, psf.shape[-1]) ** 2)
    return wrong / wrong.sum()


def distance(psf: torch.Tensor, other: torch.Tensor) -> float:
    """Of two PSFs."""
    size = tuple(max(sides) for sides in zip(psf.shape[-2:], other.shape[-2:], strict=True))
    one, two = (pad_psf(k[0, 0], size) for k in (psf, other))
    return float((one - two).norm())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("wrong", "estimated", "gain"), [(too_thick, True, 1.0), (too_bright_at_both_ends, False, 0.1)]
)
def test_a_psf_that_is_a_little_wrong_is_corrected(channels, wrong, estimated, gain):
    scene = blurred_scene(96, 104, channels, sigma=0.004)
    observation = Observation(blurry=scene.blurry, psf=wrong(scene.psf), psf_estimated=estimated)
    as_given, corrected = (methods.get("wiener_stack")(observation, settings) for settings in (RAW, {}))
    assert torch.equal(as_given.psf, observation.psf)
    assert distance(corrected.psf, scene.psf) < distance(as_given.psf, scene.psf)
    assert psnr(corrected.image, scene.sharp) > psnr(as_given.image, scene.sharp) + gain


def test_a_psf_that_is_right_does_no_worse_for_it():
    scene = blurred_scene(96, 104, sigma=0.004)
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    as_given, corrected = (methods.get("wiener_stack")(observation, settings).image for settings in (RAW, {}))
    assert psnr(corrected, scene.sharp) > psnr(as_given, scene.sharp) - 0.1


def test_a_corrected_psf_stays_where_the_given_one_is():
    scene = blurred_scene(96, 104, sigma=0.004)
    moved = torch.nn.functional.pad(scene.psf, [4] * 4).roll((3, -2), (-2, -1))
    observations = [Observation(blurry=scene.blurry, psf=psf) for psf in (scene.psf, moved)]
    middle, aside = (methods.get("wiener_stack")(observation).psf[0, 0] for observation in observations)
    assert middle.shape == (9 + 4, 11 + 4) and aside.shape == (17 + 4, 19 + 4)
    offsets = [
        [place - side // 2 for place, side in zip(psf_centroid(psf), psf.shape, strict=True)] for psf in (middle, aside)
    ]
    assert offsets[1] == pytest.approx([offsets[0][0] + 3, offsets[0][1] - 2], abs=0.05)


@pytest.mark.parametrize(("side", "chroma"), [(64, "full"), (2100, "half")])
def test_what_the_whole_photo_tells_is_found_out_once(side, chroma):
    """The tiles of a photo get the same PSF, and so the same colours at the same size."""
    method = methods.get("wiener_stack")
    scene = blurred_scene(64, 64, 3)
    repeats = -(-side // 64)
    observation = Observation(blurry=scene.blurry.repeat(1, 1, repeats, repeats)[..., :side, :side], psf=scene.psf)
    prepared, parameters = method.prepare(observation, method.settings(psf_is="estimated", passes=2), Progress())
    assert parameters.half_chroma == (chroma == "half")
    assert parameters.chroma.passes == (1 if chroma == "half" else 2)
    assert distance(prepared.psf, scene.psf) > 1e-3
    tile = replace(prepared, blurry=prepared.blurry[..., :40, :40])
    assert method.restore(tile, parameters, Progress()).psf is prepared.psf
