"""Blurry pictures of several kinds from one photo (moving scenes, blur by one PSF, no blur), or from video frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import pad_psf
from unblur.imaging.synthesis.moving import GAMMA, SceneRecipe, render, shaken_paths, with_lights
from unblur.imaging.trajectory import shake_psf

_MOVEMENT = 128  # pixels by which the area of the photo exceeds the picture of a moving scene; chosen by hand


@dataclass(frozen=True)
class MixedRecipe:
    """The shares of the kinds, and their parameters. What is neither sharp nor moving is blurred by one PSF.

    Attributes:
        sharp: share of the pictures without blur.
        moving: share of the scenes in which the camera and objects move.
        half: smallest and largest l of the PSFs of side `2 l + 1` pixels; equally frequent.
        scene: `side` of all pictures; motion of the moving scenes. `linear` and `lights` are also for blur by one PSF.
    """

    sharp: float = 0.0
    moving: float = 0.0
    half: tuple[int, int] = (3, 24)
    scene: SceneRecipe = field(default_factory=SceneRecipe)

    @property
    def area(self) -> int:
        """Side in pixels of the area of the photo that `mix` needs."""
        margin = 2 * self.half[1] if self.sharp + self.moving < 1 else 0
        return self.scene.side + max(margin, _MOVEMENT if self.moving else 0)


def mix(photo: Tensor, recipe: MixedRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Make a sharp and a blurry picture of a random kind from a photo.

    Args:
        photo: `(1, 3, area, area)` in [0, 1].
        recipe: the shares of the kinds.
        generator: random generator.

    Returns:
        The sharp and the blurry picture, `(1, 3, side, side)` each, in [0, 1].
    """
    kind = _rand(generator)
    if kind < recipe.sharp:
        sharp = middle(photo, recipe.scene.side)
        return sharp, sharp
    if kind < recipe.sharp + recipe.moving:
        textures = [photo.rot90(turns, (-2, -1))[:, [1, 2, 0]] for turns in (1, 2)]
        return render(photo, textures, shaken_paths(4, recipe.scene.instants, generator), recipe.scene, generator)
    return _blur(photo, recipe, generator)


def _blur(photo: Tensor, recipe: MixedRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Convolve with a random PSF of camera shake."""
    smallest, largest = recipe.half
    half = int(torch.randint(smallest, largest + 1, (), generator=generator))
    psf = pad_psf(shake_psf(generator, 2 * half + 1), 2 * largest + 1)
    side = recipe.scene.side
    gamma = GAMMA if _rand(generator) < recipe.scene.linear else 1.0
    gain = 1 + 5 * _rand(generator) if _rand(generator) < recipe.scene.lights else 1.0
    light = with_lights(middle(photo, side + 2 * largest) ** gamma, torch.full((1, 1, 1, 1), gain))
    sharp, blurry = middle(light, side), convolve(light, psf, "valid")
    return sharp.clamp(0, 1) ** (1 / gamma), blurry.clamp(0, 1) ** (1 / gamma)


def average(frames: Tensor, recipe: MixedRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Average the frames of a video of high frame rate, as in the GOPRO data set (Nah et al. 2017).

    Args:
        frames: `(T, 3, S, S)` in [0, 1], consecutive.
        recipe: side of the pictures, and share that is averaged in linear light.
        generator: random generator.

    Returns:
        The sharp picture, which is the frame in the middle, and the blurry one: `(1, 3, side, side)` each, in [0, 1].
    """
    frames = middle(frames, recipe.scene.side)
    gamma = GAMMA if _rand(generator) < recipe.scene.linear else 1.0
    half = len(frames) // 2
    return frames[half : half + 1], (frames**gamma).mean(0, keepdim=True) ** (1 / gamma)


def middle(photo: Tensor, side: int) -> Tensor:
    """Crop the middle of pictures `(B, C, H, W)` of one height and width: `(B, C, side, side)`."""
    edge = (photo.shape[-1] - side) // 2
    return photo[..., edge : edge + side, edge : edge + side]


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
