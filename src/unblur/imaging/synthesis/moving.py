"""Scenes in which the camera and objects move, rendered in batches on any device.

A scene is a background, recorded by a shaking camera, and objects that move in front of it. It is rendered at many
times during the exposure, and the mean of these pictures is the blurry picture. In each of them an object covers the
background. So the background near the edge of a moving object is visible for part of the exposure, as in a photo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

GAMMA = 2.2  # exponent that approximates the sRGB curve


@dataclass(frozen=True)
class SceneRecipe:
    """Parameters of the random motion. The random values differ for each picture.

    Attributes:
        side: side of the pictures in pixels.
        instants: number of times at which a scene is rendered; higher is smoother and slower.
        shake: length in pixels of the camera's longest trajectory.
        roll: twice the standard deviation, in degrees, of the rotation during the exposure.
        zoom: twice the standard deviation of the growth during the exposure, as a share of the size.
        objects: share of the objects that are in the scene; the others are left out.
        speed: length in pixels of an object's longest trajectory relative to the background.
        crooked: share of the trajectories that are camera shake; the others are smooth.
        linear: share of the pictures averaged in linear light; the others are averaged in sRGB, like the common data
            sets of averaged frames.
        lights: share of the pictures with saturated lights: their brightest parts are up to 6 times as bright as white.
    """

    side: int = 256
    instants: int = 20
    shake: float = 24.0
    roll: float = 2.0
    zoom: float = 0.02
    objects: float = 0.7
    speed: float = 24.0
    crooked: float = 0.3
    linear: float = 0.5
    lights: float = 0.2


def render(
    tiles: Tensor, textures: list[Tensor], shaken: Tensor, recipe: SceneRecipe, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Render moving scenes, and the same scenes without motion at the mean of all positions.

    Args:
        tiles: backgrounds, `(B, 3, S, S)` in [0, 1], larger than `recipe.side` by at least the longest trajectory.
        textures: textures of the objects, one tensor like `tiles` per object.
        shaken: trajectories of camera shake to choose from, `(N, recipe.instants, 2)` from `shaken_paths`.
        recipe: parameters of the motion.
        generator: random generator, on the device of `tiles`.

    Returns:
        The sharp and the blurry pictures, `(B, 3, side, side)` each, in [0, 1].
    """
    light, gamma = moving_scene(tiles, textures, shaken, recipe, generator)
    total = light(0)
    for instant in range(1, recipe.instants):
        total += light(instant)
    blurry = (total / recipe.instants).clamp(0, 1) ** (1 / gamma)
    sharp = light(None).clamp(0, 1) ** (1 / gamma)
    return sharp, blurry


def moving_scene(
    tiles: Tensor, textures: list[Tensor], shaken: Tensor, recipe: SceneRecipe, generator: torch.Generator
) -> tuple[Callable[[int | None], Tensor], Tensor]:
    """Choose a random motion, and return a function that renders the scenes at any instant.

    Arguments as `render`.

    Returns:
        The function: it takes the number of an instant, or None for the mean of all positions, and returns the values
        that a camera averages, `(B, 3, side, side)`, 0 or more, not clipped. And the exponent of these values:
        `values ** (1 / exponent)` are sRGB values; `(B, 1, 1, 1)`.
    """
    count, device = len(tiles), tiles.device
    grid = _grid(recipe.side, device)  # (side, side, 2) in pixels from the middle
    camera = _motion(count, recipe.shake, shaken, recipe, generator)
    mattes = [_mattes(count, tiles.shape[-1], generator) for _ in textures]
    layers = [torch.cat((texture, matte), 1) for texture, matte in zip(textures, mattes, strict=True)]
    present = [_rand(generator, count, 1, 1, 1) < recipe.objects for _ in layers]
    own = [_motion(count, recipe.speed, shaken, recipe, generator) for _ in layers]
    gamma = torch.where(_rand(generator, count, 1, 1, 1) < recipe.linear, GAMMA, 1.0)
    lit = _rand(generator, count, 1, 1, 1) < recipe.lights
    gain = torch.where(lit, 1 + 5 * _rand(generator, count, 1, 1, 1), 1.0)

    def light(instant: int | None) -> Tensor:
        """The scene at one instant (None: without motion), in the values that are averaged."""
        moved = None if instant is None else camera.at(instant)
        scene = _seen(tiles, grid, moved)
        for layer, motion, there in zip(layers, own, present, strict=True):
            both = None if instant is None or moved is None else moved.after(motion.at(instant))
            seen = _seen(layer, grid, both)
            matte = seen[:, 3:] * there
            scene = scene + matte * (seen[:, :3] - scene)
        return with_lights(scene.clamp_min(0) ** gamma, gain)

    return light, gamma


def with_lights(light: Tensor, gain: Tensor) -> Tensor:
    """Multiply the brightest parts of pictures by `gain`, so that lights are brighter than white.

    Args:
        light: `(B, 3, H, W)` in [0, 1]. A pixel whose largest channel is 0.85 or less is not changed; a gain of g makes
            white g times as bright.
        gain: `(B, 1, 1, 1)`, 1 or more.

    Returns:
        `(B, 3, H, W)`, not clipped.
    """
    return light * (1 + (gain - 1) * ((light.amax(1, keepdim=True) - 0.85) / 0.15).clamp(0, 1))


@dataclass(frozen=True)
class _Pose:
    """The positions of pictures at one instant. They are rotated, enlarged, then shifted.

    Attributes:
        angle: rotation in radians, `(B,)`.
        growth: enlargement as a share of the size, `(B,)`.
        offset: shift in pixels, x and y, `(B, 2)`.
    """

    angle: Tensor
    growth: Tensor
    offset: Tensor

    def after(self, other: _Pose) -> _Pose:
        """The pose after both, to first order in angle and growth."""
        return _Pose(self.angle + other.angle, self.growth + other.growth, self.offset + other.offset)


@dataclass(frozen=True)
class _Motion:
    """Poses at all instants: angle and growth `(B, T)`, offset `(B, T, 2)`."""

    angle: Tensor
    growth: Tensor
    offset: Tensor

    def at(self, instant: int) -> _Pose:
        return _Pose(self.angle[:, instant], self.growth[:, instant], self.offset[:, instant])


def _motion(count: int, length: float, shaken: Tensor, recipe: SceneRecipe, generator: torch.Generator) -> _Motion:
    """Random motions whose mean pose is 0. A third of them are at most 3.3 % of `length` long."""
    paths = smooth_paths(count, recipe.instants, generator)  # (B, T, 2), about 1 long
    crooked = _rand(generator, count, 1, 1) < recipe.crooked
    chosen = torch.randint(len(shaken), (count,), generator=generator, device=generator.device)
    paths = torch.where(crooked, shaken[chosen], paths)
    uniform = _rand(generator, count, 1, 1)
    lengths = length * torch.where(uniform < 0.33, uniform * 0.1, uniform)  # (B, 1, 1)
    time = torch.linspace(-0.5, 0.5, recipe.instants, device=generator.device)
    turning = torch.where(lengths[:, 0] > 0.05 * length, 1.0, 0.0)  # (B, 1)
    angle = turning * math.radians(recipe.roll) * _randn(generator, count, 1) / 2 * time
    growth = turning * recipe.zoom * _randn(generator, count, 1) / 2 * time
    return _Motion(angle, growth, lengths * paths)


def smooth_paths(count: int, instants: int, generator: torch.Generator) -> Tensor:
    """Create trajectories of constant acceleration: `(count, instants, 2)`, mean 0, bounding box of diagonal 1."""
    time = torch.linspace(-0.5, 0.5, instants, device=generator.device)[None, :, None]
    velocity, acceleration = _randn(generator, 2, count, 1, 2)
    return _normalised(velocity * time + acceleration * _rand(generator, count, 1, 1) * 2 * time.square())


def shaken_paths(count: int, instants: int, generator: torch.Generator, steps: int = 400) -> Tensor:
    """Create trajectories of camera shake: `(count, instants, 2)`, mean 0, bounding box of diagonal 1.

    The model is that of `unblur.imaging.trajectory.trajectory` (Boracchi & Foi 2012), for a batch.
    """
    character = _rand(generator, 3, count, 1)
    anxiety = 0.003 * 4 ** _rand(generator, count, 1) * (2000 / steps) ** 0.5
    speed = 60.0 / steps
    angle = 2 * math.pi * _rand(generator, count)
    velocity = speed * torch.stack((angle.cos(), angle.sin()), -1)  # (B, 2)
    position = torch.zeros_like(velocity)
    path = []
    for _ in range(steps):
        path.append(position)
        turn = math.pi + _rand(generator, count) - 0.5
        has_impulse = _rand(generator, count, 1) < anxiety * 0.2 * character[0] * (2000 / steps) ** 0.5
        turned = torch.stack(
            (
                turn.cos() * velocity[:, 0] - turn.sin() * velocity[:, 1],
                turn.sin() * velocity[:, 0] + turn.cos() * velocity[:, 1],
            ),
            -1,
        )
        push = anxiety * speed * (10.0 * character[1] * _randn(generator, count, 2) - 0.7 * character[2] * position)
        velocity = velocity + push + torch.where(has_impulse, 2 * turned, 0.0)
        velocity = velocity * (speed / velocity.norm(dim=-1, keepdim=True).clamp_min(1e-9))
        position = position + velocity
    at = torch.linspace(0, steps - 1, instants, device=generator.device).round().long()
    return _normalised(torch.stack(path, 1)[:, at])


def shaken_psfs(count: int, sizes: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Create PSFs of camera shake: `(count, 1, s, s)`, with s the largest side.

    Each fills a square of random odd side between the smallest and the largest of `sizes`.
    """
    smallest, largest = sizes
    paths = shaken_paths(count, 800, generator, steps=800)  # (B, T, 2)
    uniform = _rand(generator, count, 1, 1) * ((largest - smallest) // 2 + 1)
    half = (smallest // 2 + uniform.floor()) - 0.5
    points = paths * (half / paths.abs().amax((1, 2), keepdim=True).clamp_min(1e-6)) + largest // 2
    low = points.floor()
    share = points - low  # (B, T, 2), x and y
    psf = torch.zeros(count, largest * largest, device=paths.device)
    for dx in (0, 1):
        for dy in (0, 1):
            weight = (share[..., 0] if dx else 1 - share[..., 0]) * (share[..., 1] if dy else 1 - share[..., 1])
            index = (low[..., 1] + dy) * largest + low[..., 0] + dx
            psf.scatter_add_(1, index.long().clamp(0, largest * largest - 1), weight)
    return (psf / psf.sum(1, keepdim=True)).view(count, 1, largest, largest)


def blur_each(pictures: Tensor, psfs: Tensor) -> Tensor:
    """Convolve each picture `(B, C, H, W)` with its own PSF `(B, 1, s, s)`.

    Returns:
        `(B, C, H - s + 1, W - s + 1)`: the pixels that do not depend on values outside the picture.
    """
    side = psfs.shape[-1]
    shape = pictures.shape[-2:]
    product = torch.fft.rfft2(pictures) * torch.fft.rfft2(psfs, s=shape)
    return torch.fft.irfft2(product, s=shape)[..., side - 1 :, side - 1 :]


def _normalised(paths: Tensor) -> Tensor:
    paths = paths - paths.mean(1, keepdim=True)
    extent = (paths.amax(1, keepdim=True) - paths.amin(1, keepdim=True)).norm(dim=-1, keepdim=True)
    return paths / extent.clamp_min(1e-6)


def _mattes(count: int, side: int, generator: torch.Generator) -> Tensor:
    """Random shapes of objects near the middle: `(B, 1, S, S)`, 1 inside, 0 outside.

    Six in ten are irregular, the others are ellipses.
    """
    device = generator.device
    noise = F.interpolate(_randn(generator, count, 1, 7, 7), size=(side, side), mode="bicubic")
    axis = torch.linspace(-1, 1, side, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, across, along = (_rand(generator, count, 1, 1, 1) for _ in range(3))
    centre = 0.6 * (_rand(generator, count, 2, 1, 1) - 0.5) * 2
    dx, dy = x - centre[:, :1], y - centre[:, 1:]
    turned_x = (angle * math.pi).cos() * dx + (angle * math.pi).sin() * dy
    turned_y = (angle * math.pi).cos() * dy - (angle * math.pi).sin() * dx
    distance = 1 - ((turned_x / (0.1 + 0.5 * across)) ** 2 + (turned_y / (0.1 + 0.7 * along)) ** 2).sqrt()
    wobbly = _rand(generator, count, 1, 1, 1) < 0.6
    height = torch.where(wobbly, distance + 0.5 * noise, distance)
    slope = (height.diff(dim=-1).abs().mean((-2, -1), keepdim=True)).clamp_min(1e-4)
    return (height / (1.5 * slope) + 0.5).clamp(0, 1)


def _grid(side: int, device: torch.device) -> Tensor:
    axis = torch.arange(side, device=device, dtype=torch.float32) - (side - 1) / 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y), -1)


def _seen(pictures: Tensor, grid: Tensor, pose: _Pose | None) -> Tensor:
    """Rotate, enlarge and shift pictures `(B, C, S, S)`, and crop the middle: `(B, C, side, side)`."""
    side, size = grid.shape[0], pictures.shape[-1]
    if pose is None and (size - side) % 2 == 0:
        edge = (size - side) // 2
        return pictures[..., edge : edge + side, edge : edge + side]
    count = len(pictures)
    if pose is None:
        zero = pictures.new_zeros(count)
        pose = _Pose(zero, zero, pictures.new_zeros(count, 2))
    cos, sin = pose.angle.cos() * (1 - pose.growth), pose.angle.sin() * (1 - pose.growth)
    turn = torch.stack((torch.stack((cos, sin), -1), torch.stack((-sin, cos), -1)), -2)  # (B, 2, 2)
    places = grid.view(1, -1, 2) @ turn - pose.offset[:, None]  # (B, side * side, 2)
    return F.grid_sample(
        pictures, (places * (2 / size)).view(count, side, side, 2), mode="bilinear", padding_mode="reflection",
        align_corners=False,
    )  # fmt: skip


def _rand(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device)


def _randn(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device)
