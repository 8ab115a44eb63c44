"""What `wiener_stack` finds out about a whole photo, for all of its tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import blurred_scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.methods.wiener_stack import photo
from unblur.types import Observation, Progress

METHOD = methods.get("wiener_stack")


def prepared(observation: Observation, **settings):
    return METHOD.prepare(observation, METHOD.settings(refinements=0, passes=1, **settings), Progress())


def test_tiles_do_not_measure_noise(monkeypatch):
    scene = blurred_scene(64, 72, 3, sigma=0.02)
    observation, parameters = prepared(Observation(blurry=scene.blurry, psf=scene.psf))
    monkeypatch.setattr(photo, "noise_sigma", lambda *_: pytest.fail("measured"))
    METHOD.restore(replace(observation, blurry=scene.blurry[..., :40, :40]), parameters, Progress())


def test_a_tile_without_colour_is_restored_as_the_rest_of_its_photo():
    scene = blurred_scene(64, 72, 3, sigma=0.01)
    blurry = scene.blurry.clone()
    blurry[..., :40] = blurry[:, :1, :, :40]
    observation, parameters = prepared(Observation(blurry=blurry, psf=scene.psf))
    assert parameters.chroma is not None
    tile = METHOD.restore(replace(observation, blurry=blurry[..., :40]), parameters, Progress()).image
    alone = METHOD.restore(replace(observation, blurry=blurry[..., :40]), METHOD.settings(), Progress()).image
    assert torch.equal(alone[:, 0], alone[:, 1]) and not torch.equal(tile[:, 0], tile[:, 1])


@pytest.mark.parametrize("lamp", [5.0, 0.3])
def test_a_photo_has_lights_wherever_they_are(monkeypatch, lamp):
    lamps = 0.3 * structured_picture(108, 210)
    lamps[..., 60:66, 180:186] = lamp
    scene = observe(lamps, hook_psf(), sigma=0.004)
    monkeypatch.setattr("unblur.methods.wiener_stack._TILE", 64)
    _, parameters = prepared(Observation(blurry=scene.blurry, psf=scene.psf))
    assert parameters.luma.lights.tolist() == [lamp > 1]


def test_all_tiles_of_a_photo_with_lights_get_the_first_estimate_that_suits_them():
    scene = blurred_scene(64, 72, sigma=0.01)
    observation, parameters = prepared(Observation(blurry=scene.blurry, psf=scene.psf))
    dark, lit = (
        METHOD.restore(observation, replace(parameters, luma=replace(parameters.luma, lights=lights)), Progress()).image
        for lights in (torch.tensor([False]), torch.tensor([True]))
    )
    whole = METHOD.restore(observation, METHOD.settings(refinements=0, passes=1), Progress()).image
    assert torch.equal(dark, whole) and not torch.allclose(lit, whole, atol=1e-4)
