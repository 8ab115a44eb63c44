"""Measure how well `l0_psf` estimates the PSFs of validation photos, with given settings.

    python benchmarks/tune_blind.py DIR [--set size=35] [--set weight=0.5] [--count 36] [--crop 255] [--sigma 0.005]

DIR holds the photos; only validation photos (names ending in hex digit 0 or 1) are used, at half size, blurred by
PSFs of 11..31 px. Prints, for the estimated and the true PSF, the mean gain of `hyper_laplacian` in shift-aligned PSNR
over the blurry picture, and how many pictures gain 1 dB or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from validation import blurred_crops

from unblur import methods as registry
from unblur.cli.console import parse_settings
from unblur.metrics import kernel_similarity, psnr_aligned
from unblur.types import Observation


def main(
    photos: Path,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    count: int = 36,
    crop: int = 255,
    sigma: float = 0.005,
) -> None:
    """Print one line per picture, and the means."""
    estimate, deconvolve = registry.get("l0_psf"), registry.get("hyper_laplacian")
    found, known = [], []
    for sample in blurred_crops(
        photos, count=count, sigma=sigma, size=crop, psf_sizes=(11, 15, 19, 23, 27, 31), seed=0
    ):
        psf = estimate(Observation(blurry=sample.blurry), parse_settings(settings or [])).psf
        before = float(psnr_aligned(sample.blurry, sample.sharp))
        for gains, used in ((found, psf), (known, sample.psf)):
            image = deconvolve(Observation(blurry=sample.blurry, psf=used, sigma=sigma)).image
            gains.append(float(psnr_aligned(image.clamp(0, 1), sample.sharp)) - before)
        likeness = float(kernel_similarity(psf, sample.psf))
        print(f"{sample.name}: found {found[-1]:+.2f} dB, true {known[-1]:+.2f} dB, PSF similarity {likeness:.2f}")
    for name, gains in (("found", found), ("true", known)):
        figures = torch.tensor(gains)
        print(f"{name}: mean gain {figures.mean():.2f} dB, 1 dB or more for {int((figures >= 1).sum())} of {count}")


if __name__ == "__main__":
    typer.run(main)
