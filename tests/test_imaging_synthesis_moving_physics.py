"""Moving scenes against a slow renderer: every layer and its matte, one instant after the other, in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from helpers import structured_picture
from unblur.imaging.synthesis import moving
from unblur.imaging.synthesis.moving import SceneRecipe
from unblur.metrics import psnr

SIDE, TILE = 48, 96
PLAIN = SceneRecipe(side=SIDE, instants=24, objects=1.0, lights=0.0, linear=0.0)


@dataclass(frozen=True)
class Motion:
    """A motion that is known at every time from -1/2 to 1/2, with mean 0."""

    turn: float = 0.0  # radians during the exposure
    grow: float = 0.0  # share of the size during the exposure
    along: tuple[float, float] = (0.0, 0.0)  # pixels during the exposure, x and y
    wobble: tuple[float, float] = (0.0, 0.0)  # pixels, x and y

    def at(self, time: float) -> tuple[float, float, tuple[float, float]]:
        swing = math.sin(2 * math.pi * time)
        x, y = (line * time + sway * swing for line, sway in zip(self.along, self.wobble, strict=True))
        return self.turn * time, self.grow * time, (x, y)

    def source(self, x: Tensor, y: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Where that was which is at `(x, y)` now, in pixels from the middle."""
        angle, growth, (right, down) = self.at(time)
        cos, sin = (1 - growth) * math.cos(angle), (1 - growth) * math.sin(angle)
        return cos * x - sin * y - right, sin * x + cos * y - down


STILL = Motion()
CAMERA = Motion(turn=0.03, grow=0.01, along=(9.0, 4.0), wobble=(1.0, -2.0))
OBJECTS = (Motion(along=(-4.0, 8.0)), Motion(turn=-0.05, grow=0.02, along=(6.0, 0.0), wobble=(0.0, 2.0)))


def sampled(motion: Motion, instants: int) -> moving._Motion:
    """The same motion as the renderer has it: at a number of instants."""
    poses = [motion.at(-0.5 + number / (instants - 1)) for number in range(instants)]
    angle, growth, offset = (torch.tensor([column]) for column in zip(*poses, strict=True))
    return moving._Motion(angle, growth, offset)


def bilinear(picture: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values `(C, h, w)` of a picture `(C, S, S)` at places in pixels from its middle."""
    column, row = x + (TILE - 1) / 2, y + (TILE - 1) / 2
    left, top = column.floor().long(), row.floor().long()
    right, low = column - left, row - top
    upper = picture[:, top, left] * (1 - right) + picture[:, top, left + 1] * right
    lower = picture[:, top + 1, left] * (1 - right) + picture[:, top + 1, left + 1] * right
    return upper * (1 - low) + lower * low


def explicit(background: Tensor, layers: list[Tensor], motions: list[Motion], gamma: float, instants: int) -> Tensor:
    """The mean of the scene at the middles of so many equal parts of the exposure: `(3, SIDE, SIDE)`.

    An object moves in front of the background, and the camera then moves over both.
    """
    axis = torch.arange(SIDE, dtype=torch.float64) - (SIDE - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    total = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
    for number in range(instants):
        time = (number + 0.5) / instants - 0.5
        seen_x, seen_y = motions[0].source(x, y, time)
        scene = bilinear(background, seen_x, seen_y)
        for layer, motion in zip(layers, motions[1:], strict=True):
            colour_and_matte = bilinear(layer, *motion.source(seen_x, seen_y, time))
            scene = scene + colour_and_matte[3:] * (colour_and_matte[:3] - scene)
        total += scene**gamma
    return (total / instants) ** (1 / gamma)


def disc(x: float, y: float, radius: float) -> Tensor:
    """A matte `(1, 1, TILE, TILE)` whose edge is a pixel and a half wide."""
    axis = torch.arange(TILE) - (TILE - 1) / 2
    distance = ((axis - x).square() + (axis[:, None] - y).square()).sqrt()
    return ((radius - distance) / 1.5 + 0.5).clamp(0, 1)[None, None]


def rendered(monkeypatch, motions, mattes, recipe, *, background=None):
    """What `render` makes of given motions (the camera's first) and mattes, and the background and layers."""
    background = structured_picture(TILE, TILE, 3, 1) if background is None else background
    textures = [structured_picture(TILE, TILE, 3, 2 + number) for number in range(len(mattes))]
    left, shapes = iter(motions), iter(mattes)
    monkeypatch.setattr(moving, "_motion", lambda *_: sampled(next(left), recipe.instants))
    monkeypatch.setattr(moving, "_mattes", lambda *_: next(shapes))
    paths = torch.zeros(1, recipe.instants, 2)
    sharp, blurry = moving.render(background, textures, paths, recipe, torch.Generator().manual_seed(0))
    layers = [torch.cat((texture, matte), 1)[0].double() for texture, matte in zip(textures, mattes, strict=True)]
    return sharp, blurry, background[0].double(), layers


@pytest.mark.parametrize("linear", [0.0, 1.0])
def test_a_scene_is_the_mean_of_64_explicit_renderings(monkeypatch, linear):
    mattes = [disc(-6, 4, 12), disc(10, -8, 9)]
    motions = [CAMERA, *OBJECTS]
    recipe = SceneRecipe(side=SIDE, instants=24, objects=1.0, lights=0.0, linear=linear)
    sharp, blurry, background, layers = rendered(monkeypatch, motions, mattes, recipe)
    gamma = moving.GAMMA if linear else 1.0
    expected = explicit(background, layers, motions, gamma, 64).float()[None]
    assert psnr(blurry, expected) > 45
    assert psnr(sharp, expected) < 30, "the motion matters"
    without = explicit(background, layers, [CAMERA, STILL, STILL], gamma, 64).float()[None]
    assert psnr(blurry, without) < 35, "the objects' own motion matters"


def test_an_object_that_the_camera_follows_keeps_its_edges_before_a_moving_background(monkeypatch):
    pan, against = Motion(along=(14.0, 6.0)), Motion(along=(-14.0, -6.0))
    matte = disc(0, 0, 14)
    sharp, blurry, background, (layer,) = rendered(monkeypatch, [pan, against], [matte], PLAIN)
    edge = slice((TILE - SIDE) // 2, (TILE + SIDE) // 2)
    shape, texture = layer[3:, edge, edge], layer[:3, edge, edge]
    inside, around = (shape == 1).expand(3, -1, -1), (shape == 0).expand(3, -1, -1)
    torch.testing.assert_close(blurry[0][inside], sharp[0][inside], atol=1e-4, rtol=0)
    assert (blurry[0][around] - sharp[0][around]).square().mean().sqrt() > 0.03, "the background is blurred"
    behind = explicit(background, [], [pan], 1.0, 64)
    expected = (behind + shape * (texture - behind)).float()[None]
    assert psnr(blurry, expected) > 45, "no light of the background is smeared over the edge, and none of the object"


def test_a_still_background_is_sharp_where_no_object_passes(monkeypatch):
    motions = [STILL, Motion(along=(16.0, 0.0))]
    sharp, blurry, background, _ = rendered(monkeypatch, motions, [disc(0, 0, 8)], PLAIN)
    y = torch.arange(SIDE) - (SIDE - 1) / 2
    beyond = y.abs() > 10  # rows above and below the object's way
    edge = slice((TILE - SIDE) // 2, (TILE + SIDE) // 2)
    still = background[:, edge, edge].float()
    torch.testing.assert_close(blurry[0][:, beyond], still[:, beyond], atol=1e-4, rtol=0)
    assert psnr(blurry[:, :, ~beyond], sharp[:, :, ~beyond]) < 30


def test_lights_are_brighter_than_white_and_the_rest_is_not_changed():
    light = torch.tensor([0.2, 0.85, 0.925, 1.0]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    lit = moving.with_lights(light, torch.full((1, 1, 1, 1), 5.0))
    torch.testing.assert_close(lit[0, 0, 0], torch.tensor([0.2, 0.85, 0.925 * 3, 5.0]))
