"""Pairs of a short, noisy and a long, blurry shot of one moving scene, with its sharp picture.

As in the GOPRO2 data set (Zhang, Zhen, Stevenson, sec. III-C): the first of several instants is the sharp picture and
what the short shot shows. Some instants are left out, the delay between the shots. The mean of the others is the long
shot. So the long shot lies beside the short one, by some pixels.

The scenes are rendered from photos (`moving`), and the camera of the short shot is modelled in more detail than in the
paper: it is dark and tinted, has noise in linear light that is amplified with it, and is rounded to 8 bits while it is
dark. A share of the pairs has the noise of the paper instead (`published_noise`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import quantise
from unblur.imaging.registration import interpolated
from unblur.imaging.synthesis.camera import add_linear_noise, to_linear, to_srgb
from unblur.imaging.synthesis.jpeg import jpeg
from unblur.imaging.synthesis.mixed import middle
from unblur.imaging.synthesis.moving import SceneRecipe, moving_scene, shaken_paths

_MOVEMENT = 128  # pixels by which the area of the photo exceeds the picture; chosen by hand
_TURN, _SCALE = 2.0, 0.02  # largest rotation in degrees, and change of scale, of resampled noise
_THRESHOLD = 0.5  # of f in the paper, which does not state it; chosen by hand


@dataclass(frozen=True)
class PairRecipe:
    """The random distribution of motion, exposure and noise. The random values differ for each picture.

    Attributes:
        still: share of the pairs in which nothing moves during the long exposure. The long shot may be shifted.
        aligned: share of the pairs whose short shot lies at the mean position of the scene, as after a registration.
        gap: largest number of instants between the two shots; uniformly distributed from 1.
        exposure: smallest and largest exposure of the short shot, as a share of that of the long one, in linear light;
            its logarithm is uniformly distributed.
        overexposed: share of the scenes that are 1 to 2 times as bright as the photo, so that more of the long shot is
            saturated than of the short one.
        tint: standard deviation of the logarithm of the exposure of a channel.
        tone: standard deviation of the logarithm of an exponent of the sRGB values of the short shot.
        sigma: smallest and largest standard deviation of the noise of the short shot at middle grey, after it was
            brightened, on the [0, 1] scale; uniformly distributed.
        demosaicked: share with noise that demosaicking has correlated.
        resampled: share whose short shot has the noise of a picture that was moved onto the long shot: interpolation
            has smoothed and correlated it.
        jpeg: share of which both shots are stored as JPEG.
        quality: lowest and highest quality of JPEG.
        published: share with the exposure and the noise of the paper; without tint, tone and JPEG.
        scene: side of the pictures and their motion.
    """

    still: float = 0.1
    aligned: float = 0.3
    gap: int = 3
    exposure: tuple[float, float] = (0.02, 0.7)
    overexposed: float = 0.3
    tint: float = 0.08
    tone: float = 0.08
    sigma: tuple[float, float] = (0.01, 0.3)
    demosaicked: float = 0.5
    resampled: float = 0.5
    jpeg: float = 0.3
    quality: tuple[float, float] = (80.0, 98.0)
    published: float = 0.2
    scene: SceneRecipe = field(default_factory=lambda: SceneRecipe(linear=1.0))

    @property
    def area(self) -> int:
        """Side in pixels of the area of the photo that `pair` needs."""
        return self.scene.side + _MOVEMENT


@dataclass(frozen=True)
class Pair:
    """A pair of shots, `(B, 3, side, side)` each, sRGB.

    Attributes:
        sharp: the sharp picture at the time of the short shot, as bright as the long shot, in [0, 1].
        blurry: the long shot, of 8 bits.
        noisy: the short shot as the camera stores it: dark, of 8 bits unless it is resampled.
    """

    sharp: Tensor
    blurry: Tensor
    noisy: Tensor


def pair(photo: Tensor, recipe: PairRecipe, generator: torch.Generator) -> Pair:
    """Make a pair of shots from a photo.

    Args:
        photo: `(1, 3, area, area)` in [0, 1].
        recipe: the distribution of the parameters.
        generator: random generator.
    """
    sharp, blurry = _two_times(photo, recipe, generator)
    return photographed(sharp, blurry, recipe, generator)


def photographed(sharp: Tensor, blurry: Tensor, recipe: PairRecipe, generator: torch.Generator) -> Pair:
    """Darken the short shot, and add noise to both.

    Args:
        sharp: what the short shot shows, as bright as the long one; sRGB, may exceed 1 where lights are saturated,
            `(1, 3, H, W)`.
        blurry: the long shot without noise, same shape.
        recipe: the distribution of the parameters.
        generator: random generator.
    """
    if _rand(generator) < recipe.published:
        frames = 5 + int(7 * _rand(generator))  # of 7 to 13, two are not in the mean
        exposure, sigma = published_levels(generator)
        made = as_published(sharp.clamp(0, 1), blurry, frames, exposure, sigma, generator)
        return _maybe_resampled(made, exposure * made.sharp, recipe.resampled, generator)
    darkest, brightest = recipe.exposure
    exposure = darkest * (brightest / darkest) ** _rand(generator)
    tint = (recipe.tint * torch.randn(1, 3, 1, 1, generator=generator)).exp()
    least, most = recipe.sigma
    sigma = least + (most - least) * _rand(generator)
    seen = _noisy(sharp, sigma, recipe.demosaicked, generator)
    tone = math.exp(recipe.tone * float(torch.randn((), generator=generator)))
    dark, noisy = (
        quantise(to_srgb(to_linear(picture) * (exposure * tint)).clamp_min(0) ** tone, clip=True)
        for picture in (sharp, seen)
    )
    # The long shot has more light, so a lower gain and less noise than the short one.
    long_sigma = sigma * exposure**0.5 * (0.1 + 0.9 * _rand(generator))
    blurry = quantise(_noisy(blurry, long_sigma, recipe.demosaicked, generator), clip=True)
    if _rand(generator) < recipe.jpeg:
        lowest, highest = recipe.quality
        both = jpeg(torch.cat((noisy, blurry)), torch.full((2,), lowest + (highest - lowest) * _rand(generator)))
        noisy, blurry = quantise(both, clip=True).split(1)
    return _maybe_resampled(Pair(sharp.clamp(0, 1), blurry, noisy), dark, recipe.resampled, generator)


def _maybe_resampled(made: Pair, dark: Tensor, share: float, generator: torch.Generator) -> Pair:
    """A share of the pairs with resampled noise; `dark` is the short shot without noise, `(1, 3, H, W)`."""
    if _rand(generator) >= share:
        return made
    return replace(made, noisy=(dark + resampled(made.noisy - dark, generator)).clamp(0, 1))


def resampled(noise: Tensor, generator: torch.Generator) -> Tensor:
    """Interpolate noise at places between the pixels, as `imaging.registration.warped` does with a short shot.

    It is rotated by up to 2 degrees, scaled by up to 2 % and shifted, so that the distance to the nearest pixels
    differs from place to place.

    Args:
        noise: `(1, C, H, W)`.
        generator: random generator.

    Returns:
        The same shape; with a lower standard deviation where the places lie between pixels.
    """
    angle, scale, right, down = (2 * torch.rand(4, generator=generator) - 1).tolist()
    angle, scale = math.radians(_TURN * angle), 1 + _SCALE * scale
    across, along = scale * math.cos(angle), scale * math.sin(angle)
    height, width = noise.shape[-2:]
    matrix = [[across, -along * height / width, 2 * right / width], [along * width / height, across, 2 * down / height]]
    places = F.affine_grid(noise.new_tensor([matrix]), [1, 1, height, width], align_corners=False)
    return interpolated(noise, places[0])


def published_noise(sharp: Tensor, sigma: float, exposure: float, generator: torch.Generator) -> Tensor:
    """Darken a sharp picture, and add the noise of the paper (sec. III-C).

    Below an exposure of 0.5 it is photon noise, `Poisson(sigma_s I) / sigma_s` (Eq. 8), where `sigma_s` is the number
    of different values of the sharp picture; else it is white Gaussian noise. The paper does not state this threshold.

    Args:
        sharp: `(1, C, H, W)`, sRGB, [0, 1].
        sigma: standard deviation of the Gaussian noise, `sigma_r`.
        exposure: `f_scale`, factor of the sRGB values.
        generator: random generator.

    Returns:
        `(1, C, H, W)`, of 8 bits.
    """
    dark = exposure * sharp
    if exposure < _THRESHOLD:
        levels = len(quantise(sharp).unique())  # sigma_s
        noisy = torch.poisson(levels * dark, generator=generator) / levels
    else:
        noisy = dark + sigma * torch.randn(dark.shape, generator=generator)
    return quantise(noisy, clip=True)


def published_levels(generator: torch.Generator) -> tuple[float, float]:
    """Draw the exposure of the short shot, `f_scale` in [.3, .8], and the noise, `sigma_r` in [.05, .1]."""
    return 0.3 + 0.5 * _rand(generator), 0.05 + 0.05 * _rand(generator)


def as_published(
    sharp: Tensor, blurry: Tensor, frames: int, exposure: float, sigma: float, generator: torch.Generator
) -> Pair:
    """Make a pair with the noise of the paper.

    Args:
        sharp: `(1, 3, H, W)`, sRGB, [0, 1].
        blurry: the long shot without noise, same shape.
        frames: `N`, whose mean is the long shot; the variance of its noise is `sigma_r^2 / N`.
        exposure: `f_scale`, see `published_levels`.
        sigma: `sigma_r`, see `published_levels`.
        generator: random generator.
    """
    noise = torch.randn(blurry.shape, generator=generator)
    taken = quantise(blurry + sigma / frames**0.5 * noise, clip=True)
    return Pair(sharp, taken, published_noise(sharp, sigma, exposure, generator))


def _two_times(photo: Tensor, recipe: PairRecipe, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The scene at the time of the short shot, and its mean during the long exposure; sRGB, the first not clipped."""
    scene = recipe.scene
    if _rand(generator) < recipe.still:
        sharp = middle(photo, scene.side)
        if _rand(generator) < recipe.aligned:
            return sharp, sharp
        shift = (scene.shake / 2 * (2 * torch.rand(2, generator=generator) - 1)).round().int().tolist()
        return sharp, middle(photo.roll(shift, (-2, -1)), scene.side)
    textures = [photo.rot90(turns, (-2, -1))[:, [1, 2, 0]] for turns in (1, 2)]
    light, gamma = moving_scene(photo, textures, shaken_paths(4, scene.instants, generator), scene, generator)
    gain = 1 + _rand(generator) if _rand(generator) < recipe.overexposed else 1.0
    gap = 1 + int(recipe.gap * _rand(generator))
    short = None if _rand(generator) < recipe.aligned else 0
    later = range(gap + 1, scene.instants)
    blurry = sum((light(instant) for instant in later), torch.zeros(())) / len(later)
    return (gain * light(short)) ** (1 / gamma), (gain * blurry).clamp(0, 1) ** (1 / gamma)


def _noisy(picture: Tensor, sigma: float, demosaicked: float, generator: torch.Generator) -> Tensor:
    """Add photon and read-out noise in linear light, of standard deviation `sigma` at middle grey; not clipped."""
    noise = torch.randn(picture.shape, generator=generator)
    photons, mosaic = _rand(generator), _rand(generator) < demosaicked
    return add_linear_noise(
        picture, _number(sigma), _number(photons), noise, torch.full((1, 1, 1, 1), mosaic, dtype=torch.bool)
    )


def _number(value: float) -> Tensor:
    return torch.full((1, 1, 1, 1), value)


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
