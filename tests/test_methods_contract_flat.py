"""Pictures of one colour stay as they are, whatever method restores them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from helpers import Scene, hook_psf
from test_methods_contract import CARDS, RESTORING, image_of, observation_for
from unblur import methods
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress

COLOURS = {
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
    "grey": (0.6, 0.6, 0.6),
    "red": (1.0, 0.0, 0.0),
    "green": (0.1, 0.8, 0.2),
    "blue": (0.0, 0.02, 0.9),
    "skin": (0.85, 0.65, 0.5),
    "dusk": (0.02, 0.015, 0.03),
}
LEVEL = 1 / 255


def flat_scene(size: tuple[int, int], *colours: tuple[float, ...]) -> Scene:
    """Pictures of one colour each: `(B, 3, height, width)`."""
    flat = torch.tensor(colours)[:, :, None, None].expand(-1, -1, *size).contiguous()
    return Scene(flat, hook_psf()[None, None].expand(len(colours), -1, -1, -1), flat)


def flat_observation(name: str, scene: Scene, sigma: float | None = None) -> Observation:
    """What the method needs of a scene of one colour, in which the short shot has no noise either."""
    observation = observation_for(name, scene, sigma=sigma)
    return observation if observation.noisy is None else replace(observation, noisy=scene.sharp)


@pytest.mark.parametrize("sigma", [None, 0.0])
@pytest.mark.parametrize("name", RESTORING)
def test_a_method_by_itself_leaves_flat_pictures_flat(name, sigma):
    """All colours as one batch; the noise is measured, or known to be none."""
    card = CARDS[name]
    height, width = (math.ceil(side / card.multiple_of) * card.multiple_of for side in (24, 37))
    scene = flat_scene((height, width), *COLOURS.values())
    if 3 not in card.channels:
        scene = Scene(scene.sharp[:, :1], scene.psf, scene.blurry[:, :1])
    changes = (image_of(name, flat_observation(name, scene, sigma)) - scene.sharp).abs().amax((1, 2, 3))
    assert {colour: float(c) for colour, c in zip(COLOURS, changes, strict=True) if c >= LEVEL} == {}


@pytest.mark.parametrize("size", [(12, 40), (37, 53), (64, 24), (96, 80)], ids=str)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("name", RESTORING)
def test_flat_photos_stay_flat(name, colour, size):
    """Through the pipeline, even where every doubt is silenced."""
    observation = flat_observation(name, scene := flat_scene(size, COLOURS[colour]))
    options = Options(method=name, settings=methods.get(name).quick, force=True)
    result = restore_picture(observation, options, Progress())
    assert (result.image - scene.sharp).abs().max() < LEVEL
