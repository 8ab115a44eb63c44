"""Measure pairs of a short and a long shot made from sharp photos: uniform shakes, and short shots that lie elsewhere.

    python benchmarks/pairs_shifted.py DIR [--limit 8] [--sigma 0.05 --sigma 0.1] [--json FILE]

DIR holds sharp photos (kodim01.png ... kodim24.png, say). The middle of each, of 448 x 320 px, is the sharp picture.
The long shot is blurred by a seeded shake of 9, 15, 23 or 31 px, with noise of `sigma / sqrt(10)`. The short shot has
half of the sRGB values and noise of `sigma` after it is brightened. Both have 8 bits. It lies on the long shot ("in
place"), is shifted along a slanted direction by 5, 10 or 20 px, or turned by 1 degree.

In place, the short shot is brightened by the estimated ratio of the exposures, as in `unblur bench gopro2`. Elsewhere,
it is aligned as `unblur restore --noisy` does. Printed is the mean PSNR of the long shot, of the short shot denoised by
`nidf`, of `pair_psf` and of the method that `auto` chooses for pairs, 32 px from the border, where every short shot
shows the scene, at the best shift within 5 px: no picture tells where in its blur a long shot lies. Nothing is tuned
on these photos.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from kodak import read
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.exposure import brightened, exposure_ratio
from unblur.imaging.noise import quantise
from unblur.imaging.registration import Registration, warped
from unblur.imaging.short_shot import align_short
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import psnr_aligned
from unblur.pipeline.auto import choose
from unblur.pipeline.chain import Chain
from unblur.types import Observation, Progress

SIZE = (320, 448)
PSF_SIDES = (9, 15, 23, 31)
BORDER = 32  # pixels that are not scored
DARK = 0.5  # sRGB values of the short shot, relative to those of the long one
PLACES = {"in place": (0.0, 0.0), "5 px": (5, 0), "10 px": (10, 0), "20 px": (20, 0), "1 degree": (0, 1)}


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of sharp photos.")],
    limit: Annotated[int, typer.Option(min=1, help="Number of photos, evenly spread over the folder.")] = 24,
    sigma: Annotated[list[float] | None, typer.Option(help="Noise of the short shot; may be repeated.")] = None,
    place: Annotated[list[str] | None, typer.Option(help=f"Only one of {', '.join(PLACES)}; may be repeated.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all figures.")] = None,
) -> None:
    """Print one row for each noise level and each place of the short shot."""
    files = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    files = files[:: max(len(files) // limit, 1)][:limit]
    chosen = Chain.parse(choose("auto", {"blurry", "noisy"})[0].name)
    rows: dict[str, list[dict[str, float]]] = {}
    for number, path in enumerate(files):
        for level in sigma or [0.05, 0.1]:
            for name in place or PLACES:
                scores = scores_of(read(path), number, level, name, chosen)
                rows.setdefault(f"{level:g}, {name}", []).append(scores)
                words = " ".join(f"{key} {value:.2f}" for key, value in scores.items())
                Console(stderr=True).print(path.stem, level, name, words, highlight=False)
    columns = list(next(iter(rows.values()))[0])
    table = Table("sigma, place", *columns)
    for name, own in rows.items():
        table.add_row(name, *(f"{np.mean([scores[column] for scores in own]):.2f}" for column in columns))
    Console().print(table)
    print(f"{len(files)} photos; auto is {chosen.name}")
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1))


def scores_of(photo: Tensor, number: int, sigma: float, place: str, chosen: Chain) -> Mapping[str, float]:
    """The PSNR of each method for one pair."""
    long, short, sharp = pair(photo, number, sigma, *PLACES[place])
    if place == "in place":
        noisy = brightened(short, exposure_ratio(long, short))
    else:
        aligned = align_short(short, long, Progress())
        long, noisy = aligned.long, aligned.picture
    results = {
        "long": long,
        "denoised": _image(Chain.parse("nidf", {"output": "denoised"}), Observation(blurry=noisy)),
        "pair_psf": _image(Chain.parse("pair_psf"), Observation(blurry=long, noisy=noisy)),
        "auto": _image(chosen, Observation(blurry=long, noisy=noisy)),
    }
    return {
        name: float(psnr_aligned(quantise(image, clip=True), sharp, crop=BORDER)) for name, image in results.items()
    }


def _image(chain: Chain, observation: Observation) -> Tensor:
    image = chain(observation).image
    assert image is not None
    return image


def pair(photo: Tensor, number: int, sigma: float, pixels: float, degrees: float) -> tuple[Tensor, Tensor, Tensor]:
    """The long, the short and the sharp picture, `(1, 3, *SIZE)`; shake and noise do not depend on the place."""
    generator = torch.Generator().manual_seed(number)
    psf = shake_psf(generator, PSF_SIDES[number % len(PSF_SIDES)])
    noise = torch.randn(2, 1, 3, *SIZE, generator=generator)
    long = _middle(convolve(photo, psf)) + sigma / 10**0.5 * noise[0]
    angle, unit = math.radians(degrees), max(photo.shape[-2:]) / 2
    diagonal = pixels / unit / math.hypot(2, 1)
    cosine, sine = math.cos(angle), math.sin(angle)
    homography = torch.tensor([[cosine, -sine, 2 * diagonal], [sine, cosine, diagonal], [0, 0, 1]], dtype=torch.float64)
    view = photo
    if pixels or degrees:
        view = warped(photo, Registration(homography, None, 1, 1), (photo.shape[-2], photo.shape[-1]))[0].clamp(0, 1)
    short = DARK * (_middle(view) + sigma * noise[1])
    return quantise(long, clip=True), quantise(short, clip=True), _middle(photo)


def _middle(photo: Tensor) -> Tensor:
    top, left = ((photo.shape[axis] - SIZE[axis]) // 2 for axis in (-2, -1))
    return photo[..., top : top + SIZE[0], left : left + SIZE[1]]


if __name__ == "__main__":
    typer.run(main)
