"""Pictures like real photos that are to be restored or left alone: shaken, moving, sharp, or partly out of focus."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import disk_psf, gaussian_psf, pad_psf
from unblur.imaging.synthesis.camera import CameraRecipe, photograph, to_linear, to_srgb
from unblur.imaging.synthesis.mixed import middle
from unblur.imaging.synthesis.moving import SceneRecipe, render, shaken_paths, with_lights
from unblur.imaging.trajectory import shake_psf

KINDS = ("shaken", "lamps", "rolled", "moving", "sharp", "shallow")
"""`shaken` and `lamps`: one PSF everywhere. `rolled`: the camera turns. `moving`: objects move as well."""

_ROOM = 64  # pixels by which the area exceeds the picture on each side; chosen by hand
_SHARPENED = 0.6  # largest strength of the sharpening by the camera; chosen by hand


@dataclass(frozen=True)
class ShakenRecipe:
    """The random distribution of the pictures.

    Attributes:
        side: side of the pictures in pixels.
        shares: share of each of `KINDS`.
        half: smallest and largest l of the PSFs of side `2 l + 1` pixels; the logarithm is uniformly distributed.
        dark: share of the pictures that are underexposed.
        faint: share of the pictures with little contrast, such as pencil on paper.
        sharpened: share of the pictures that the camera has sharpened.
        camera: noise and compression.
        scene: motion of the scenes `rolled` and `moving`, without the side.
    """

    side: int = 304
    shares: tuple[float, ...] = (0.32, 0.08, 0.14, 0.24, 0.10, 0.12)
    half: tuple[int, int] = (3, 40)
    dark: float = 0.12
    faint: float = 0.15
    sharpened: float = 0.2
    camera: CameraRecipe = field(
        default_factory=lambda: CameraRecipe(
            sigma=5.0, skew=2.0, photons=0.7, demosaicked=0.7, jpeg=0.6, quality=(72.0, 98.0)
        )
    )
    scene: SceneRecipe = field(default_factory=lambda: SceneRecipe(instants=48, shake=40.0, speed=30.0))

    @property
    def area(self) -> int:
        """Side in pixels of the area of the photo that `shaken_picture` needs."""
        return self.side + 2 * _ROOM


def shaken_picture(photo: Tensor, recipe: ShakenRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor, str]:
    """Make a picture of a random kind from a photo.

    Args:
        photo: `(1, 3, area, area)` in [0, 1].
        recipe: the distribution.
        generator: random generator.

    Returns:
        The sharp picture and the photo that is made of it, `(1, 3, side, side)` each, in [0, 1]; and the kind. Of a
        picture that is sharp or partly out of focus, the sharp picture is the photo without noise.
    """
    kind = KINDS[int(torch.multinomial(torch.tensor(recipe.shares), 1, generator=generator))]
    if recipe.faint and _rand(generator) < recipe.faint:
        contrast, level = 0.15 + 0.65 * _rand(generator), 0.2 + 0.6 * _rand(generator)
        photo = (level + contrast * (photo - photo.mean())).clamp(0, 1)
    if kind in ("rolled", "moving"):
        sharp, seen = _scene(photo, kind, recipe, generator)
    else:
        sharp, seen = _still(photo, kind, recipe, generator)
    if _rand(generator) < recipe.sharpened:
        strength = _SHARPENED * _rand(generator)
        seen = (seen + strength * (seen - convolve(seen, gaussian_psf(1.0)))).clamp(0, 1)
        if kind in ("sharp", "shallow"):
            sharp = seen
    return sharp, photograph(seen, recipe.camera, generator), kind


def _scene(photo: Tensor, kind: str, recipe: ShakenRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A camera that turns while it shakes, and objects that move."""
    scene, moving = recipe.scene, kind == "moving"
    motion = SceneRecipe(
        side=recipe.side,
        instants=scene.instants,
        shake=scene.shake * (1.0 if not moving else _rand(generator)),
        roll=scene.roll,
        speed=scene.speed,
        crooked=scene.crooked if moving else 0.8,
        linear=scene.linear,
        lights=scene.lights,
    )
    textures = [photo.rot90(turns, (-2, -1))[:, [1, 2, 0]] for turns in ((1, 2) if moving else ())]
    return render(photo, textures, shaken_paths(4, motion.instants, generator), motion, generator)


def _still(photo: Tensor, kind: str, recipe: ShakenRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A scene in which nothing moves: blurred by one PSF, sharp, or partly out of focus."""
    least, most = recipe.half
    linear = _rand(generator) < recipe.scene.linear
    light = to_linear(photo) if linear else photo
    if kind == "lamps":
        light = _with_lamps(light * (0.02 + 0.2 * _rand(generator)), generator)
    else:
        if _rand(generator) < recipe.dark:
            light = light * (0.15 + 0.4 * _rand(generator))
        light = with_lights(light, torch.full((1, 1, 1, 1), 1 + 4 * _rand(generator) ** 3))
    if kind == "sharp":
        blurred = light
    elif kind == "shallow":
        blurred = _out_of_focus(light, 2 + 8 * _rand(generator), generator)
    else:
        half = round(least * (most / least) ** _rand(generator))
        blurred = convolve(light, pad_psf(shake_psf(generator, 2 * half + 1), 2 * most + 1))
    pictures = [middle(one, recipe.side).clamp(0, 1) for one in (light, blurred)]
    sharp, seen = (to_srgb(one) if linear else one for one in pictures)
    return (seen if kind == "shallow" else sharp), seen


def _out_of_focus(light: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    """A picture that is sharp in one part, and blurred by a disk elsewhere."""
    soft = convolve(light, disk_psf(radius))
    coarse = torch.randn(1, 1, 4, 4, generator=generator)
    blob = F.interpolate(coarse, size=light.shape[-2:], mode="bicubic", align_corners=True)
    level = blob.flatten().kthvalue(int((0.3 + 0.5 * _rand(generator)) * blob.numel())).values
    return torch.lerp(soft, light, ((blob - level) * 4 + 0.5).clamp(0, 1))


def _with_lamps(light: Tensor, generator: torch.Generator) -> Tensor:
    """Add 4 to 24 round lights of .7 to 4 px, up to 30 times as bright as white."""
    height, width = light.shape[-2:]
    y, x = torch.arange(height)[:, None], torch.arange(width)
    for _ in range(int(4 + 20 * _rand(generator))):
        top, left, radius = _rand(generator) * height, _rand(generator) * width, 0.7 + 3 * _rand(generator) ** 2
        colour = 30 ** _rand(generator) * (0.4 + 0.6 * torch.rand(1, 3, 1, 1, generator=generator))
        light = torch.maximum(light, colour * ((y - top).square() + (x - left).square() <= radius**2))
    return light


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
