"""What a camera adds to a picture: noise, demosaicking, clipping, 8 bits, JPEG; for batches on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import quantise
from unblur.imaging.synthesis.jpeg import jpeg

_GREY = ((0.5 + 0.055) / 1.055) ** 2.4  # linear light of the sRGB value 0.5
_SLOPE = 1.055 / 2.4 * _GREY ** (1 / 2.4 - 1)  # of the sRGB curve at this value


@dataclass(frozen=True)
class CameraRecipe:
    """The random distribution of noise, clipping and compression. The random values differ for each picture.

    Attributes:
        plain: share of the pictures with white Gaussian noise of one of `sigmas`, added to the sRGB values, and without
            JPEG. The attributes from `sigma` to `demosaicked` and `jpeg` are for the other pictures.
        sigmas: standard deviations, on the scale 0..255; equally frequent.
        sigma: largest standard deviation, on the scale 0..255.
        skew: the standard deviation is `sigma * u**skew`, with u uniformly distributed from 0 to 1; with a higher value
            weak noise is more frequent.
        photons: share with photon and read-out noise in linear light (`add_linear_noise`).
        demosaicked: share with noise that demosaicking has correlated (`demosaicked`).
        clipped: share of all pictures that are clipped and rounded to 8 bits.
        jpeg: share that is stored as JPEG.
        quality: lowest and highest quality of JPEG; uniformly distributed.
    """

    plain: float = 0.0
    sigmas: tuple[float, ...] = (10.0, 20.0, 30.0, 40.0)
    sigma: float = 50.0
    skew: float = 1.0
    photons: float = 0.5
    demosaicked: float = 0.5
    clipped: float = 1.0
    jpeg: float = 0.4
    quality: tuple[float, float] = (70.0, 98.0)


def photograph(pictures: Tensor, recipe: CameraRecipe, generator: torch.Generator) -> Tensor:
    """Add the noise and the compression of a camera to noise-free pictures, with random parameters.

    Args:
        pictures: `(B, 3, H, W)`, sRGB, [0, 1].
        recipe: the distribution of the parameters.
        generator: random generator, on the device of `pictures`.

    Returns:
        `(B, 3, H, W)`; those that are not clipped may leave [0, 1].
    """
    count, device = len(pictures), pictures.device

    def chance() -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator, device=device)

    plain = chance() < recipe.plain
    level = torch.randint(len(recipe.sigmas), (count, 1, 1, 1), generator=generator, device=device)
    levels = torch.tensor(recipe.sigmas, device=device)[level]
    sigma = torch.where(plain, levels, recipe.sigma * chance() ** recipe.skew) / 255  # (B, 1, 1, 1)
    noise = torch.randn(pictures.shape, generator=generator, device=device)
    linear, mosaic = (~plain & (chance() < share) for share in (recipe.photons, recipe.demosaicked))
    in_linear_light = add_linear_noise(pictures, sigma, chance(), noise, mosaic)
    in_srgb = pictures + torch.where(mosaic, demosaicked(sigma * noise), sigma * noise)
    taken = torch.where(linear, in_linear_light, in_srgb)
    rounded = quantise(taken, clip=True)
    taken = torch.where(chance() < recipe.clipped, rounded, taken)
    stored = (~plain & (chance() < recipe.jpeg)).flatten()
    lowest, highest = recipe.quality
    quality = lowest + (highest - lowest) * chance().flatten()
    if stored.any():
        taken[stored] = jpeg(rounded[stored], quality[stored])
    return taken


def add_linear_noise(pictures: Tensor, sigma: Tensor, photons: Tensor, noise: Tensor, mosaic: Tensor) -> Tensor:
    """Add Poisson-Gaussian noise in linear light.

    The variance of a value x of linear light is `a x + b` (Foi et al. 2008, Eq. 3). The noise is normally distributed,
    as counts of many photons nearly are.

    Args:
        pictures: `(B, 3, H, W)`, sRGB, [0, 1].
        sigma: standard deviation at middle grey (the sRGB value 0.5), in sRGB, on the [0, 1] scale, `(B, 1, 1, 1)`.
        photons: share of the variance at middle grey that is photon noise, `a x / (a x + b)`, `(B, 1, 1, 1)`.
        noise: independent normally distributed values of standard deviation 1, shape of `pictures`.
        mosaic: whether the noise is demosaicked, `(B, 1, 1, 1)`.

    Returns:
        `(B, 3, H, W)`, sRGB, not clipped.
    """
    light = to_linear(pictures)
    variance = (sigma / _SLOPE).square() * (photons * light / _GREY + 1 - photons)
    noise = variance.sqrt() * noise
    return to_srgb(light + torch.where(mosaic, demosaicked(noise), noise))


def demosaicked(noise: Tensor) -> Tensor:
    """Keep one channel of each pixel, as the filters of a sensor do (RGGB), and interpolate the others bilinearly.

    Applied to noise: the values of neighbouring pixels then depend on each other, as in a photo. An interpolated value
    has a smaller variance. The picture itself is not changed by this, as if the interpolation had been perfect.

    Args:
        noise: `(B, 3, H, W)`, sides of at least 2 pixels.

    Returns:
        `(B, 3, H, W)`.
    """
    mask = noise.new_zeros(3, *noise.shape[-2:])
    mask[0, ::2, ::2] = mask[1, ::2, 1::2] = mask[1, 1::2, ::2] = mask[2, 1::2, 1::2] = 1
    corners = noise.new_tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4  # red and blue
    sides = noise.new_tensor([[0.0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4  # green
    weights = torch.stack((corners, sides, corners))[:, None]  # (3, 1, 3, 3)
    # Reflection keeps the order of the colour filters beyond the border.
    return F.conv2d(F.pad(noise * mask, (1, 1, 1, 1), "reflect"), weights, groups=3)


def to_linear(pictures: Tensor) -> Tensor:
    """Convert sRGB values to linear light (IEC 61966-2-1); any shape, black is 0 and white is 1 in both."""
    curve = ((pictures.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return torch.where(pictures <= 0.04045, pictures / 12.92, curve)


def to_srgb(light: Tensor) -> Tensor:
    """Convert linear light to sRGB values, the inverse of `to_linear`."""
    curve = 1.055 * light.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(light <= 0.0031308, 12.92 * light, curve)
