"""Synthesise pictures of moving scenes and of camera shake from validation photos.

| kind | what moves |
|---|---|
| `shake` | the camera, along a crooked path: one PSF everywhere |
| `roll` | the same, and the camera turns a little about its axis: nearly one PSF |
| `spin` | the camera turns about its axis so much that the blur in the corners differs from that in the centre |
| `objects` | one to four objects before a background that moves by 1.5 pixels at most |
| `pan` | the camera, along a smooth path, and one to four objects, each along its own |
| `depth` | the camera, before a near and a far part of the scene: the near part moves two to four times as far |
| `sharp` | nothing |

The light of 8 to 24 instants (three times as many for a crooked path) is averaged; an object hides what is behind it.
Then noise is added, and every third picture is compressed as JPEG. The sharp picture is the scene in the middle of the
exposure.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from validation import busiest_crop, validation_photos

from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.trajectory import trajectory

KINDS = ("shake", "roll", "spin", "objects", "pan", "depth", "sharp")
_GAMMAS = (1.0, 2.2)  # for even pictures, sRGB values are averaged, as in papers; for odd ones, linear light
_MARGIN = 48  # pixels of the photo beyond each border, for things that move into the picture


@dataclass(frozen=True)
class Scene:
    """A blurred picture and its sharp picture.

    Attributes:
        name: kind and number.
        blurry: `(1, 3, H, W)`, 8-bit levels in [0, 1].
        sharp: the sharp picture, same shape.
    """

    name: str
    blurry: Tensor
    sharp: Tensor


@dataclass(frozen=True)
class _Layer:
    """A layer of the scene that moves as a whole: `colours` `(1, 3, h, w)` in linear light, opacity `cover`
    `(1, 1, h, w)`, `path` `(T, 2)` in pixels and `roll` `(T,)` in radians, both zero in the middle of the exposure."""

    colours: Tensor
    cover: Tensor
    path: Tensor
    roll: Tensor


def scenes(
    folders: Sequence[Path], kind: str, count: int, *, size: tuple[int, int] = (480, 640), seed: int = 0
) -> list[Scene]:
    """`count` pictures `(1, 3, *size)` of one kind."""
    return [scene(folders, kind, number, size=size, seed=seed) for number in range(count)]


def scene(
    folders: Sequence[Path], kind: str, number: int, *, size: tuple[int, int] = (480, 640), seed: int = 0
) -> Scene:
    """Picture `number` of a kind, from the validation photos in some folders; identical in every run."""
    return scene_of([photo for folder in folders for photo in validation_photos(folder)], kind, number, size, seed)


def scene_of(photos: Sequence[Path], kind: str, number: int, size: tuple[int, int], seed: int = 0) -> Scene:
    """Picture `number` of a kind, from some photos; identical in every run."""
    generator = torch.Generator().manual_seed(100_000 * seed + 1000 * KINDS.index(kind) + number)
    area = size[0] + 2 * _MARGIN, size[1] + 2 * _MARGIN
    instants = int(_between(generator, 8, 24))
    gamma = _GAMMAS[number % 2]
    camera, roll = _camera(kind, instants, size, generator)
    layers = [_Layer(_photo(photos, number, area, generator, gamma), torch.ones(1, 1, *area), camera, roll)]
    if kind in ("objects", "pan"):
        for _ in range(int(_between(generator, 1, 5))):
            path = camera + _smooth_path(_between(generator, 6, 40), instants, generator)
            layers.append(_object(photos, area, path, roll, generator, gamma, share=_between(generator, 0.04, 0.2)))
    if kind == "depth":
        near = camera * _between(generator, 2, 4)
        layers.append(_object(photos, area, near, roll, generator, gamma, share=_between(generator, 0.2, 0.5)))
    moments = [_seen(layers, moment) for moment in range(len(camera))]
    still = [_Layer(la.colours, la.cover, torch.zeros(1, 2), torch.zeros(1)) for la in layers]
    sharp = _seen(still, 0)
    light = sharp if kind == "sharp" else torch.stack(moments).mean(0)
    blurry = add_gaussian_noise(light.clamp_min(0) ** (1 / gamma), _between(generator, 0.001, 0.006), generator)
    blurry = quantise(blurry, clip=True)
    if number % 3 == 2:
        blurry = _through_jpeg(blurry, int(_between(generator, 85, 97)))
    return Scene(f"{kind}-{number}", blurry, sharp ** (1 / gamma))


def _camera(kind: str, instants: int, size: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The shift `(T, 2)` in pixels and the rotation `(T,)` in radians of the picture by the camera."""
    still = torch.zeros(instants)
    corner = math.hypot(*size) / 2
    if kind in ("shake", "roll"):
        path = _path(trajectory(generator)[:: 2000 // (3 * instants)], _between(generator, 9, 31))
        wobble = torch.zeros(len(path))
        if kind == "roll":  # the corners move by up to a fifth of the shake's extent
            wobble = _path(trajectory(generator)[:: 2000 // (3 * instants)], 1.0)[: len(path), 0]
            wobble = wobble * _between(generator, 0.05, 0.2) * float(_extent(path)) / corner
        return path, wobble
    if kind == "spin":
        path = _smooth_path(_between(generator, 0, 12), instants, generator)
        return path, _smooth_path(_between(generator, 12, 40), instants, generator)[:, 0] / corner
    if kind == "objects":
        return _smooth_path(_between(generator, 0, 1.5), instants, generator), still
    if kind == "sharp":
        return torch.zeros(instants, 2), still
    return _smooth_path(_between(generator, 3, 25), instants, generator), still


def _smooth_path(length: float, instants: int, generator: torch.Generator) -> Tensor:
    """A slightly bent path `(T, 2)` of `length` pixels."""
    start = int(_between(generator, 0, 1500))
    path = trajectory(generator, anxiety=0.003)[start : start + 400 : max(400 // instants, 1)][:instants]
    return _path(path, length)


def _path(path: Tensor, extent: float) -> Tensor:
    """A path `(T, 2)` scaled to an extent in pixels; it is 0 in the middle of the exposure."""
    path = path.float() - path.float().mean(0)
    path = path * (extent / _extent(path).clamp_min(1e-6))
    return path - path[len(path) // 2]


def _extent(path: Tensor) -> Tensor:
    """The longer side of a path's bounding box."""
    return (path.amax(0) - path.amin(0)).max()


def _object(
    photos: Sequence[Path],
    area: tuple[int, int],
    path: Tensor,
    roll: Tensor,
    generator: torch.Generator,
    gamma: float,
    share: float,
) -> _Layer:
    """A layer with a blob of another photo at a random place; it covers a `share` of the picture."""
    coarse = torch.randn(1, 1, 5, 7, generator=generator)
    blob = F.interpolate(coarse, size=area, mode="bicubic", align_corners=True)
    y, x = (torch.linspace(-1, 1, n) for n in area)
    at = [float(v) for v in torch.rand(2, generator=generator) * 1.2 - 0.6]
    blob = blob - 6 * ((y - at[0])[:, None].square() + (x - at[1]).square())
    level = blob.flatten().kthvalue(int((1 - share) * blob.numel())).values
    cover = ((blob - level) * 20 + 0.5).clamp(0, 1)
    other = int(_between(generator, 0, len(photos)))
    return _Layer(_photo(photos, other, area, generator, gamma), cover, path, roll)


def _seen(layers: Sequence[_Layer], moment: int) -> Tensor:
    """The scene at one moment, `(1, 3, H, W)` in linear light."""
    seen = torch.zeros(1)
    for layer in layers:
        both = _moved(torch.cat([layer.colours, layer.cover], 1), layer.path[moment], float(layer.roll[moment]))
        both = both[..., _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        seen = torch.lerp(seen.expand_as(both[:, :3]), both[:, :3], both[:, 3:])
    return seen


def _moved(picture: Tensor, shift: Tensor, roll: float) -> Tensor:
    """A picture shifted by `shift` (x, y) pixels and rotated about its centre by `roll` radians, bicubic."""
    if roll == 0 and not shift.any():
        return picture
    height, width = picture.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    cos, sin = math.cos(roll), math.sin(roll)
    from_x = cos * (x - shift[0]) + sin * (y - shift[1])
    from_y = -sin * (x - shift[0]) + cos * (y - shift[1])
    grid = torch.stack((from_x * 2 / (width - 1), from_y * 2 / (height - 1)), -1)[None]
    moved = F.grid_sample(picture, grid, mode="bicubic", padding_mode="reflection", align_corners=True)
    return moved.clamp(0, 1)


def _photo(
    photos: Sequence[Path], number: int, area: tuple[int, int], generator: torch.Generator, gamma: float
) -> Tensor:
    """A detailed area `(1, 3, *area)`, in linear light, of a photo reduced so that it is sharp down to pixels."""
    with Image.open(photos[number % len(photos)]) as photo:
        photo = photo.convert("RGB")
        scale = max(0.6, area[0] / photo.height, area[1] / photo.width)
        small = photo.resize(
            (math.ceil(photo.width * scale), math.ceil(photo.height * scale)), Image.Resampling.LANCZOS
        )
    picture = torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1)[None]
    wide = busiest_crop(picture, max(area), generator, tries=3)
    top, left = (int(_between(generator, 0, wide.shape[-2 + i] - area[i] + 1)) for i in range(2))
    return wide[..., top : top + area[0], left : left + area[1]] ** gamma


def _through_jpeg(picture: Tensor, quality: int) -> Tensor:
    """The picture `(1, 3, H, W)` after JPEG compression."""
    levels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=quality)
    with Image.open(file) as photo:
        return torch.from_numpy(np.asarray(photo, np.float32) / 255).permute(2, 0, 1)[None]


def _between(generator: torch.Generator, low: float, high: float) -> float:
    """A random number, uniformly distributed in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))
