"""Measure the registration and the tone curves of pairs of a short and a long shot, made from photos.

    python benchmarks/registration.py DIR [--count 12] [--side 900]

DIR holds photos. Each gives a pair with a known homography (shift to 40 px, rotation to 2 degrees, scale to 1 %, some
perspective): the long shot is blurred by a shake of 9 to 31 px; the short one has .1 to .8 of the light, a tint,
another contrast and noise of 10 to 25 of 255. Prints for each the mean error of the place in pixels,
without the mean displacement (no picture tells where in its blur a long shot lies), that of the corners, the agreement
of the pair and of a pair of two scenes, and the PSNR of the noise-free short shot after the tone curves and after a
gain alone, where it is not clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from validation import validation_photos

from unblur.imaging.convolution import convolve
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.noise import quantise
from unblur.imaging.psf import centre_psf
from unblur.imaging.registration import Registration, register, warped
from unblur.imaging.synthesis.camera import add_linear_noise, to_linear, to_srgb
from unblur.imaging.tones import match_tones
from unblur.imaging.trajectory import shake_psf

BORDER = 60  # pixels cut off, where the moved picture would repeat its border


@dataclass
class Pair:
    """The shots `(1, 3, h, w)`, the homography from the long to the short one, and the noise-free short shot."""

    short: Tensor
    long: Tensor
    homography: Tensor
    bright: Tensor
    dark: Tensor


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photos.")],
    count: Annotated[int, typer.Option(min=2, help="Number of photos.")] = 12,
    side: Annotated[int, typer.Option(min=400, help="Longer side of the photos in pixels.")] = 900,
) -> None:
    """Print one row per photo, and the medians."""
    photos = validation_photos(folder)[:count] or sorted(folder.glob("*.jpg"))[:count]
    pairs = [make_pair(path, side, seed) for seed, path in enumerate(photos)]
    names = ("error", "corners", "agreement", "of two scenes", "tones dB", "gain dB")
    table = Table("photo", *names)
    rows = []
    for number, (path, pair) in enumerate(zip(photos, pairs, strict=True)):
        size = pair.long.shape[-2:]
        found, true = register(pair.short, pair.long), Registration(pair.homography, None, 1, 1)
        error = (found.places(*size) - true.places(*size)) * max(size) / 2
        error = (error - error.mean((0, 1))).norm(dim=-1)
        corners = torch.stack([error[y, x] for y in (0, -1) for x in (0, -1)])
        other = register(pairs[(number + 5) % len(pairs)].short, pair.long)
        seen, shown = (part for part in warped(pair.short, true, size))
        curves = match_tones(seen.clamp(0, 1), pair.long, shown)
        gain = exposure_ratio(pair.long, seen.clamp(0, 1))
        figures = (float(error.mean()), float(corners.mean()), found.agreement, other.agreement)
        rows.append(
            (*figures, psnr_unclipped(curves(pair.dark), pair), psnr_unclipped(brightened(pair.dark, gain), pair))
        )
        table.add_row(path.name, *(f"{figure:.2f}" for figure in rows[-1]))
    table.add_row("median", *(f"{figure:.2f}" for figure in np.median(rows, 0)), style="bold")
    Console(width=160).print(table)


def make_pair(path: Path, side: int, seed: int) -> Pair:
    """A pair from the photo at `path`, reduced to `side`."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    picture = Image.open(path).convert("RGB")
    picture.thumbnail((side, side))
    sharp = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    height, width = sharp.shape[-2:]
    unit = max(height, width) / 2
    angle, scale = math.radians(between(-2, 2)), between(0.99, 1.01)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    right, down, tilt_x, tilt_y = (
        *(between(-40, 40) / unit for _ in range(2)),
        *(between(-0.01, 0.01) for _ in range(2)),
    )
    homography = torch.tensor([[cosine, -sine, right], [sine, cosine, down], [tilt_x, tilt_y, 1]], dtype=torch.float64)
    view = warped(sharp, Registration(homography, None, 1, 1), (height, width))[0].clamp(0, 1)
    psf = centre_psf(shake_psf(generator, 2 * int(between(4.5, 15.5)) + 1), subpixel=True)[0]
    inside = (..., slice(BORDER, height - BORDER), slice(BORDER, width - BORDER))
    long = to_srgb(convolve(to_linear(view), psf / psf.sum()).clamp(0, 1))[inside]
    long = quantise(long + 0.004 * torch.randn(long.shape, generator=generator), clip=True)
    bright = sharp[inside]
    light = between(0.1, 0.8) * (0.15 * torch.randn(1, 3, 1, 1, generator=generator)).exp()
    exponent, sigma = math.exp(between(-0.25, 0.25)), torch.full((1, 1, 1, 1), between(10, 25) / 255)
    noise = torch.randn(bright.shape, generator=generator)
    seen = add_linear_noise(
        bright, sigma, torch.full_like(sigma, 0.6), noise, torch.zeros_like(sigma, dtype=torch.bool)
    )
    short, dark = (to_srgb(to_linear(one) * light).clamp(0, 1) ** exponent for one in (seen, bright))
    units = torch.tensor([max(bright.shape[-2:]) / 2 / unit] * 2 + [1.0], dtype=torch.float64).diag()
    return Pair(quantise(short, clip=True), long, torch.linalg.inv(units) @ homography @ units, bright, dark)


def psnr_unclipped(matched: Tensor, pair: Pair) -> float:
    """PSNR against the bright shot where no channel is clipped."""
    kept = ((pair.bright.amax(1) < 0.97) & (pair.dark.amin(1) > 0.01) & (pair.dark.amax(1) < 0.97))[:, None]
    return float(-10 * torch.log10((matched - pair.bright)[kept.expand_as(matched)].square().mean()))


if __name__ == "__main__":
    typer.run(main)
