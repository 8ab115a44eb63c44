"""Synthesise pictures like real shaken photos from free photos: for the fit of the judge of PSFs.

| kind | what it is |
|---|---|
| `shaken` | a photo, shaken by a path of 6 to 48 px that also turns the camera a little |
| `lights` | the same, dark, with small lights brighter than white |
| `text` | lines of text, shaken |
| `moving` | a scene in which objects move, or the camera turns (`moving_scenes.py`) |
| `sharp` | a photo |
| `shallow` | a photo, sharp in one part and out of focus elsewhere |

All have noise, seven of ten are stored as JPEG, some are dark, and some are sharpened by the camera.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from moving_scenes import Scene, scene_of
from PIL import Image
from torch import Tensor
from validation import busiest_crop, hand_shaken

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import quantise
from unblur.imaging.psf import disk_psf, gaussian_psf
from unblur.imaging.synthesis.camera import CameraRecipe, photograph, to_linear, to_srgb
from unblur.imaging.synthesis.drawn import draw
from unblur.imaging.synthesis.moving import with_lights
from unblur.imaging.trajectory import fill_square, trajectory

KINDS = ("shaken", "lights", "text", "moving", "sharp", "shallow")
CAMERA = CameraRecipe(sigma=3.0, skew=2.0, photons=0.7, demosaicked=0.7, jpeg=0.7, quality=(72.0, 98.0))
_MOVING = ("objects", "pan", "depth", "spin")
_EXTENTS = (3.0, 24.0)  # pixels: half the extent of a shake
_LINEAR = 0.5  # share of the pictures that are blurred in linear light


def shaken_scene(photos: Sequence[Path], kind: str, number: int, side: int = 352) -> Scene:
    """Picture `number` of a kind, `(1, 3, side, side)`; identical in every run.

    Args:
        photos: the photos to use.
        kind: one of `KINDS`.
        number: which picture.
        side: side of the picture in pixels.
    """
    generator = torch.Generator().manual_seed(7_000_000 + 10_000 * KINDS.index(kind) + number)
    if kind == "moving":
        made = scene_of(photos, _MOVING[number % len(_MOVING)], number, (side, side), seed=11)
        return Scene(f"moving-{number}", made.blurry, made.sharp)
    half = round(_EXTENTS[0] * (_EXTENTS[1] / _EXTENTS[0]) ** _rand(generator))
    reach = half + 6
    area = _picture(photos, kind, number, side + 2 * reach, generator)  # (1, 3, h, w), sRGB
    linear = _rand(generator) < _LINEAR
    light = to_linear(area) if linear else area
    if kind == "lights":
        light = _with_lamps(light * (0.02 + 0.2 * _rand(generator)), generator)
    elif kind != "text":
        light = with_lights(light, torch.full((1, 1, 1, 1), 1 + 4 * _rand(generator) ** 3))
        light = light * (0.15 + 0.4 * _rand(generator) if _rand(generator) < 0.15 else 1.0)
    still = light[..., reach:-reach, reach:-reach]
    blurred = {"sharp": lambda: still, "shallow": lambda: _out_of_focus(light, reach, generator)}.get(
        kind, lambda: _shaken(light, half, reach, generator)
    )()
    seen, sharp = (to_srgb(one.clamp(0, 1)) if linear else one.clamp(0, 1) for one in (blurred, still))
    if _rand(generator) < 0.25:
        seen = (seen + 0.6 * _rand(generator) * (seen - convolve(seen, gaussian_psf(1.0)))).clamp(0, 1)
    taken = photograph(seen, CAMERA, generator)
    return Scene(f"{kind}-{number}", quantise(taken, clip=True), seen if kind == "shallow" else sharp)


def _picture(photos: Sequence[Path], kind: str, number: int, side: int, generator: torch.Generator) -> Tensor:
    """A detailed area of a photo that is reduced until it is sharp, or a page of text: `(1, 3, side, side)`."""
    if kind == "text":
        return draw("text", side, generator)[None]
    with Image.open(photos[number % len(photos)]) as photo:
        scale = max(0.4 + 0.2 * _rand(generator), side / photo.height, side / photo.width)
        size = (max(round(photo.width * scale), side), max(round(photo.height * scale), side))
        small = photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    picture = torch.from_numpy(np.asarray(small, np.float32) / 255).permute(2, 0, 1)[None]
    return busiest_crop(picture, side, generator, tries=8)


def _shaken(light: Tensor, half: int, reach: int, generator: torch.Generator) -> Tensor:
    """Light averaged along a path of an extent of `2 * half` pixels, turned by up to a tenth of it at the corners."""
    path, wobble = (fill_square(trajectory(generator, anxiety=0.005), half) for _ in range(2))
    path = path - path.mean(0)
    path = path * min(1.0, reach / float(path.abs().max() + 6))
    corner = light.shape[-1] / 2**0.5
    roll = (wobble[:, 0] - wobble[:, 0].mean()) * 0.2 * _rand(generator) ** 3 / corner
    return hand_shaken(light, path, roll, reach)


def _out_of_focus(light: Tensor, reach: int, generator: torch.Generator) -> Tensor:
    """A picture that is sharp in one part, and blurred by a disk elsewhere."""
    radius = 2 + (reach - 4) * _rand(generator) / 3
    soft = convolve(light, disk_psf(radius))
    coarse = torch.randn(1, 1, 4, 4, generator=generator)
    blob = F.interpolate(coarse, size=light.shape[-2:], mode="bicubic", align_corners=True)
    level = blob.flatten().kthvalue(int((0.3 + 0.5 * _rand(generator)) * blob.numel())).values
    return torch.lerp(soft, light, ((blob - level) * 4 + 0.5).clamp(0, 1))[..., reach:-reach, reach:-reach]


def _with_lamps(light: Tensor, generator: torch.Generator) -> Tensor:
    """Add 4 to 24 round lights of 1 to 4 px, up to 30 times as bright as white."""
    height, width = light.shape[-2:]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for _ in range(int(4 + 20 * _rand(generator))):
        top, left, radius = _rand(generator) * height, _rand(generator) * width, 0.7 + 3 * _rand(generator) ** 2
        colour = 30 ** _rand(generator) * (0.4 + 0.6 * torch.rand(1, 3, 1, 1, generator=generator))
        light = torch.maximum(light, colour * ((y - top).square() + (x - left).square() <= radius**2))
    return light


def _rand(generator: torch.Generator) -> float:
    """A random number from 0 to 1."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))
