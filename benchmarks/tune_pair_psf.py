"""Measure the settings of `pair_psf` on pairs made from validation photos.

    python benchmarks/tune_pair_psf.py DIR [--count 16] [--set iterations=10 --set damping=0.4]

DIR holds photos; those for validation are used, at half size. The long shot of 300 x 300 px is blurred by a shake of
9, 15, 23 or 31 px, with noise of `sigma / sqrt(10)`; the short one lies on it, is as bright, and has noise of `sigma`
.05 or .1. Both have 8 bits. Without `--set`, some values of iterations, damping and detail are compared. Printed is the
mean PSNR at both noise levels, that of the denoised short shot alone, and the mean kernel similarity of the PSF.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from validation import busiest_crop, half_size, validation_photos

from unblur.datasets.base import Sample
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import quantise
from unblur.imaging.trajectory import shake_psf
from unblur.methods import get
from unblur.metrics import kernel_similarity, psnr
from unblur.types import Observation

SIDE, PSF_SIDES, SIGMAS = 300, (9, 15, 23, 31), (0.05, 0.1)
COMPARED: tuple[dict[str, Any], ...] = (
    {},
    {"preset": "paper"},
    *({"iterations": count, "damping": damping} for count in (3, 5, 10, 20) for damping in (0.2, 0.4, 0.6, 0.8)),
    *({"detail": weight} for weight in (0.1, 0.3)),
    *({"smoothness": smoothness} for smoothness in (0.03, 0.3)),
)


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of photos.")],
    count: Annotated[int, typer.Option(min=8, help="Number of pairs; 8 have all shakes and noise levels.")] = 16,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Only these values.")] = None,
) -> None:
    """Print one row for each group of settings."""
    method, samples = get("pair_psf"), list(pairs(folder, count))
    table = Table("settings", *(f"sigma {sigma:g}" for sigma in SIGMAS), "denoised", "KS")
    for values in (dict(one.split("=", 1) for one in settings),) if settings else COMPARED:
        scores: dict[float, list[float]] = {sigma: [] for sigma in SIGMAS}
        others = []
        for sample in samples:
            assert sample.sharp is not None and sample.sigma is not None
            result = method(Observation(blurry=sample.blurry, noisy=sample.noisy), values)
            assert result.image is not None and result.psf is not None
            scores[sample.sigma].append(float(psnr(result.image.clamp(0, 1), sample.sharp)))
            denoised = psnr(result.stages["denoised"].clamp(0, 1), sample.sharp)
            others.append((float(denoised), float(kernel_similarity(result.psf, sample.psf))))
        means = [*(np.mean(own) for own in scores.values()), *np.mean(others, 0)]
        table.add_row(" ".join(f"{key}={value}" for key, value in values.items()), *(f"{mean:.2f}" for mean in means))
    Console().print(table)


def pairs(folder: Path, count: int) -> Iterator[Sample]:
    """Pairs whose noise level is that of the short shot."""
    photos = validation_photos(folder)
    for number in range(count):
        generator = torch.Generator().manual_seed(5000 + number)
        picture = half_size(photos[5 * number % len(photos)], grey=False)
        side, sigma = PSF_SIDES[number % len(PSF_SIDES)], SIGMAS[number // len(PSF_SIDES) % len(SIGMAS)]
        psf = shake_psf(generator, side)[None, None]
        area = busiest_crop(picture, SIDE + side - 1, generator)
        reach = side // 2
        sharp = area[..., reach : area.shape[-2] - reach, reach : area.shape[-1] - reach]
        long, short = (
            quantise(light + level * torch.randn(light.shape, generator=generator), clip=True)
            for light, level in ((convolve(area, psf, "valid"), sigma / 10**0.5), (sharp, sigma))
        )
        yield Sample(str(number), long, sharp, psf, sigma, noisy=short)


if __name__ == "__main__":
    typer.run(main)
