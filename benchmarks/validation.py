"""Blurred validation photos for tuning: synthesised here, so that no benchmark's ground truth is ever tuned on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from unblur.datasets.base import Sample
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.trajectory import shake_psf


def validation_photos(folder: Path) -> list[Path]:
    """The photos that are never trained on: names ending in hex digit 0 or 1."""
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
    """`count` crops of `size` pixels of half-size validation photos, each shaken by a PSF of its own, in 8 bits."""
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


def half_size(path: Path, grey: bool) -> torch.Tensor:
    """A photo at half its size, which is sharp to the pixel: `(1, C, H, W)`."""
    with Image.open(path) as photo:
        photo = photo.convert("L" if grey else "RGB")
        small = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BOX)
    pixels = np.atleast_3d(np.asarray(small, np.float32) / 255)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def busiest_crop(picture: torch.Tensor, size: int, generator: torch.Generator, tries: int = 8) -> torch.Tensor:
    """Of `tries` random crops the one with most detail (a blurred sky tells nothing)."""
    height, width = min(size, picture.shape[-2]), min(size, picture.shape[-1])
    crops = []
    for _ in range(tries):
        top = int(torch.randint(0, picture.shape[-2] - height + 1, (1,), generator=generator))
        left = int(torch.randint(0, picture.shape[-1] - width + 1, (1,), generator=generator))
        crops.append(picture[..., top : top + height, left : left + width])
    return max(crops, key=lambda crop: float(crop.diff(dim=-1).abs().mean() + crop.diff(dim=-2).abs().mean()))
