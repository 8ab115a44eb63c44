"""What `wiener_stack` finds out about a whole photo, for all of its tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers import blurred_scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.methods.wiener_stack import network, photo
from unblur.methods.wiener_stack.photo import Parameters
from unblur.solvers.canvas import Canvas
from unblur.solvers.tiles import BLEND, halo_for, tiled
from unblur.types import Observation, Progress

METHOD = methods.get("wiener_stack")


def prepared(observation: Observation, **settings):
    return METHOD.prepare(observation, METHOD.settings(refinements=0, passes=1, **settings), Progress())


def prepared_with_defaults(scene, **settings) -> Parameters:
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    return METHOD.prepare(observation, METHOD.settings(refinements=0, **settings), Progress())[1]


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


@pytest.mark.parametrize("column", [20, 40])  # of a light that only the left one of two tiles sees
def test_a_tile_without_lights_fits_to_one_with_lights(monkeypatch, column):
    sharp = 0.3 * structured_picture(120, 268)
    sharp[..., 60:66, column : column + 6] = 5.0
    scene = observe(sharp, hook_psf(), sigma=0.004)
    border = scene.blurry.shape[-1] // 2
    observation, parameters = prepared(Observation(blurry=scene.blurry, psf=scene.psf))
    # The real number of passes: each brings the tiles nearer to each other.
    parameters = replace(parameters, luma=replace(parameters.luma, passes=4))
    lit: list[bool] = []
    found_out = network.shows_lights

    def restored_in_tiles(shows_lights) -> torch.Tensor:
        monkeypatch.setattr(network, "shows_lights", shows_lights)
        return tiled(
            lambda tile, progress: METHOD.restore(tile, parameters, progress).image,
            observation,
            halo=halo_for(scene.psf),
            tile=140,
            multiple_of=2,
        )[..., border - BLEND : border + BLEND].clamp(0, 1)

    def noted(canvas: Canvas, estimate: torch.Tensor) -> torch.Tensor:
        lights = found_out(canvas, estimate)
        lit.append(bool(lights))
        return lights

    each, all_lit = restored_in_tiles(noted), restored_in_tiles(lambda *_: torch.tensor([True]))
    assert sorted(lit) == [False, True]  # tiles are restored side by side
    difference = each - all_lit
    assert 0 < float(difference.abs().max()) < 0.01


def test_a_large_photo_is_restored_in_fewer_passes(monkeypatch):
    scene = blurred_scene(64, 72, 3, sigma=0.01)

    def passes(**settings) -> tuple[int, int]:
        parameters = prepared_with_defaults(scene, **settings)
        return parameters.luma.passes, parameters.chroma.passes

    assert passes(chroma="full") == (4, 4) and passes(chroma="half") == (4, 2)
    monkeypatch.setattr("unblur.methods.wiener_stack.LARGE_FROM", 4000)
    assert passes(chroma="full") == (3, 3) and passes(chroma="half") == (3, 1)
    assert passes(chroma="half", passes=3) == (3, 2), "as in a small photo, since it was asked for"
