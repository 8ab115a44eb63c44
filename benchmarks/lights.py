"""Measure how well photos with clipped lights are restored when the PSF is given.

    python benchmarks/lights.py PHOTOS_DIR [--method wiener_stack,sparse,hyper_laplacian]

Validation photos at half size are made darker, get bright squares, are blurred by a 21 px PSF, get 0.5 % noise and are
rounded to 8 bits. In the last scene a photo is overexposed instead.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.table import Table
from validation import half_size, validation_photos

from unblur import methods
from unblur.datasets.base import Sample
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import psnr
from unblur.types import Observation

_PSF, _SIGMA, _CROP = 21, 0.005, 20
_SCENES = ((40, 2, 15, 0.25), (20, 1, 1.5, 0.5), (20, 2, 4, 0.25), (6, 4, 8, 0.5), (3, 15, 15, 0.5), (0, 1, 1, 1.8))


def main(photos: Path, method: str = "wiener_stack,sparse,tv_admm,hyper_laplacian") -> None:
    """Print a table of PSNRs in dB, after clipping to [0, 1]."""
    samples = [shaken_lights(photos, index, *scene) for index, scene in enumerate(_SCENES)]
    table = Table("", *(sample.name for sample in samples))
    table.add_row("blurry", *(_score(sample.blurry, sample) for sample in samples))
    for name in method.split(","):
        restored = (
            methods.get(name)(Observation(blurry=sample.blurry, psf=sample.psf, sigma=_SIGMA)).image
            for sample in samples
        )
        table.add_row(name, *(_score(image, sample) for image, sample in zip(restored, samples, strict=True)))
    Console().print(table)


def shaken_lights(folder: Path, index: int, count: int, least: float, most: float, dimmed: float) -> Sample:
    """A blurred photo with bright squares.

    The photo is multiplied by `dimmed`. It gets `count` squares of 3 to 7 px, `least` to `most` times as bright as
    white.
    """
    generator = torch.Generator().manual_seed(index)
    sharp = dimmed * half_size(validation_photos(folder)[index], grey=False)[..., :276, :340]  # (1, 3, H, W)
    for _ in range(count):
        y, x = (int(torch.randint(10, side - 10, (), generator=generator)) for side in sharp.shape[-2:])
        reach = int(torch.randint(1, 4, (), generator=generator))
        bright = least + (most - least) * float(torch.rand((), generator=generator))
        sharp[..., y - reach : y + reach + 1, x - reach : x + reach + 1] = bright
    psf = shake_psf(generator, _PSF)[None, None]
    blurry = quantise(add_gaussian_noise(convolve(sharp, psf, "valid"), _SIGMA, generator), clip=True)
    rim = _PSF // 2
    name = f"{count}, {least:g} to {most:g}" if count else f"overexposed {dimmed:g}x"
    clipped = float((blurry == 1).any(1).float().mean())
    return Sample(f"{name}: {clipped:.1%}", blurry, sharp[..., rim:-rim, rim:-rim].clamp(0, 1), psf, _SIGMA)


def _score(image: torch.Tensor, sample: Sample) -> str:
    inside = (..., slice(_CROP, -_CROP), slice(_CROP, -_CROP))
    return f"{float(psnr(image.clamp(0, 1)[inside], sample.sharp[inside])):.2f}"


if __name__ == "__main__":
    typer.run(main)
