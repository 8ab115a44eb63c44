"""Synthesise blurred validation photos for tuning, so that nothing is tuned on the pictures of a benchmark.

`blurred_crops` are blurred by one PSF and have white noise, as in most papers. `camera_crops` imitate a hand-held
camera.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from unblur.datasets.base import Sample
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.trajectory import fill_square, rasterise, shake_psf, trajectory


def validation_photos(folder: Path) -> list[Path]:
    """The photos that are not used for training: names ending in hex digit 0 or 1."""
    return sorted(path for path in folder.glob("*.jpg") if path.stem[-1] in "01")


def blurred_crops(
    folder: Path,
    *,
    count: int,
    sigma: float,
    size: int = 255,
    psf_sizes: tuple[int, ...] = (11, 15, 19, 23, 27),
    seed: int = 3,
    grey: bool = True,
) -> list[Sample]:
    """`count` crops of `size` pixels of half-size validation photos, each blurred by its own PSF, in 8 bits."""
    photos = validation_photos(folder)
    samples = []
    for index in range(count):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        picture = half_size(photos[index % len(photos)], grey)  # (1, C, H, W)
        psf = shake_psf(generator, psf_sizes[index % len(psf_sizes)])[None, None]  # (1, 1, h, w)
        reach = psf.shape[-1] // 2
        area = busiest_crop(picture, size + 2 * reach, generator)
        blurry = add_gaussian_noise(convolve(area, psf, "valid"), sigma, generator)
        sharp = area[..., reach : area.shape[-2] - reach, reach : area.shape[-1] - reach]
        samples.append(
            Sample(f"{photos[index % len(photos)].stem}-{index}", quantise(blurry, clip=True), sharp, psf, sigma)
        )
    return samples


def camera_crops(
    folder: Path,
    *,
    count: int,
    size: int = 255,
    sigma: float = 0.004,
    psf_sizes: tuple[int, ...] = (11, 15, 19, 23, 27, 31),
    seed: int = 7,
) -> list[Sample]:
    """`count` grey crops of `size` pixels, as taken by a hand-held camera.

    The camera rotates about three axes: yaw and pitch shift the picture, roll makes the PSF vary over the picture.
    The sensor measures one colour per pixel and adds noise of `sigma`; demosaicking smooths light and noise. The sharp
    picture is made by the same camera without motion and noise. `psf` is the PSF in the centre.
    """
    photos = validation_photos(folder)
    samples = []
    for index in range(count):
        generator = torch.Generator().manual_seed(1000 * seed + index)
        picture = half_size(photos[index % len(photos)], grey=False)  # (1, 3, H, W)
        side = psf_sizes[index % len(psf_sizes)]
        path = fill_square(trajectory(generator), side // 2)  # (T, 2)
        wobble = fill_square(trajectory(generator), side // 2)[:, 0]  # (T,) of a point one focal length from the centre
        focal_length = 1.4 * max(picture.shape[-2:])  # of a normal lens, in pixels
        roll = wobble / focal_length * float(torch.rand((), generator=generator, dtype=torch.float64))
        reach = side // 2 + 6
        area = busiest_crop(picture, size + 2 + 2 * reach, generator, tries=4)
        still = area[..., reach : area.shape[-2] - reach, reach : area.shape[-1] - reach]
        shaken = hand_shaken(area, path, roll, reach)
        # The border pixels are cut off, since they lack neighbours.
        blurry = through_camera(shaken, sigma, generator)[..., 1:-1, 1:-1]
        sharp = through_camera(still, 0.0, generator)[..., 1:-1, 1:-1]
        psf = rasterise(path, side)[None, None]
        samples.append(Sample(f"camera-{index}", quantise(blurry, clip=True), sharp, psf, None))
    return samples


def hand_shaken(area: torch.Tensor, path: torch.Tensor, roll: torch.Tensor, reach: int, nodes: int = 5) -> torch.Tensor:
    """Blur `area` `(1, C, H, W)` by a shift along `path` `(T, 2)` in pixels and a rotation `roll` `(T,)` in radians.

    The result is `reach` pixels smaller on each side. It is computed with the PSFs at `nodes` x `nodes` places, and
    interpolated bilinearly between these.
    """
    height, width = area.shape[-2] - 2 * reach, area.shape[-1] - 2 * reach
    blurry = area.new_zeros(1, area.shape[1], height, width)
    for y, rows in _hats(height, nodes):
        for x, columns in _hats(width, nodes):
            moved = path + torch.stack((-roll * y, roll * x), 1)  # (T, 2)
            psf = rasterise(moved, 2 * reach + 1, origin=(0.0, 0.0))[None, None]
            blurry += rows[:, None] * columns * convolve(area, psf, "valid")
    return blurry


def _hats(length: int, nodes: int) -> list[tuple[float, torch.Tensor]]:
    """Places along a side, measured from its middle, each with its interpolation weights `(length,)`."""
    places = torch.linspace(-(length - 1) / 2, (length - 1) / 2, nodes)
    pixels = torch.arange(length) - (length - 1) / 2
    step = (length - 1) / (nodes - 1)
    return [(float(place), (1 - (pixels - place).abs() / step).clamp_min(0)) for place in places]


def through_camera(light: torch.Tensor, sigma: float, generator: torch.Generator) -> torch.Tensor:
    """RGB through a Bayer mosaic with noise of `sigma` and bilinear demosaicking: `(1, 3, H, W)` -> `(1, 1, H, W)`."""
    mosaic = torch.zeros_like(light)
    mosaic[:, 0, 0::2, 0::2] = mosaic[:, 1, 0::2, 1::2] = mosaic[:, 1, 1::2, 0::2] = mosaic[:, 2, 1::2, 1::2] = 1
    raw = add_gaussian_noise(light, sigma, generator) * mosaic
    tent = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])[None, None].expand(3, 1, 3, 3)
    colour = F.conv2d(raw, tent, padding=1, groups=3) / F.conv2d(mosaic, tent, padding=1, groups=3)
    return luminance(colour)


def half_size(path: Path, grey: bool) -> torch.Tensor:
    """A photo at half its size, where it is sharp down to single pixels: `(1, C, H, W)`."""
    with Image.open(path) as photo:
        photo = photo.convert("L" if grey else "RGB")
        small = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
    pixels = np.atleast_3d(np.asarray(small, np.float32) / 255)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def busiest_crop(picture: torch.Tensor, size: int, generator: torch.Generator, tries: int = 8) -> torch.Tensor:
    """The crop with most detail among `tries` random ones."""
    height, width = min(size, picture.shape[-2]), min(size, picture.shape[-1])
    crops = []
    for _ in range(tries):
        top = int(torch.randint(0, picture.shape[-2] - height + 1, (1,), generator=generator))
        left = int(torch.randint(0, picture.shape[-1] - width + 1, (1,), generator=generator))
        crops.append(picture[..., top : top + height, left : left + width])
    return max(crops, key=lambda crop: float(crop.diff(dim=-1).abs().mean() + crop.diff(dim=-2).abs().mean()))
