"""Measure how well `unblur.pipeline.sharpness` separates sharp photos from shaken ones.

    python benchmarks/sharpness.py DIR [--real FOLDER]

DIR holds photos; only validation photos (names ending in hex digit 0 or 1) are used. Printed is the sharpness of each
photo as it is; with noise of 4 of 255; as JPEG of quality 70; with shallow depth of field (a third is in focus, a disk
of 8 px blurs the rest); and shaken by 9, 15 and 27 px in linear light, with noise of 2 of 255 and as JPEG of quality
80. Last comes the share of each version that the judge calls sharp. `--real` also lists the photos of a folder, as they
are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from kodak import read
from torch import Tensor
from validation import validation_photos

from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, estimate_noise_sigma, quantise
from unblur.imaging.psf import disk_psf
from unblur.imaging.synthesis.camera import to_linear, to_srgb
from unblur.imaging.synthesis.jpeg import jpeg
from unblur.imaging.trajectory import shake_psf
from unblur.pipeline import judge
from unblur.pipeline.sharpness import sharpness

SHAKES = (9, 15, 27)


def main(
    photos: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of photos.")],
    real: Annotated[Path | None, typer.Option(metavar="FOLDER", help="A folder of *.jpg to list as well.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one row per photo, and the shares."""
    torch.set_num_threads(threads)
    rows = []
    for number, path in enumerate(validation_photos(photos)):
        values = {name: measure(made) for name, made in versions(read(path), number).items()}
        rows.append(values)
        print(path.stem, *(f"{name} {value:.2f}" for name, value in values.items()), flush=True)
    for name in rows[0]:
        sharp = sum(row[name] >= judge._SHARP for row in rows)
        print(f"{name}: {sharp} of {len(rows)} are called sharp")
    for path in sorted(real.glob("*.jpg")) if real is not None else []:
        print(path.stem, f"{measure(read(path)):.2f}", flush=True)


def measure(photo: Tensor) -> float:
    """The sharpness of a photo `(1, 3, H, W)`."""
    grey = luminance(photo)
    return sharpness(grey, float(estimate_noise_sigma(grey)))


def versions(photo: Tensor, seed: int) -> dict[str, Tensor]:
    """The versions of a photo `(1, 3, H, W)`, by name."""
    generator = torch.Generator().manual_seed(seed)
    made = {
        "sharp": photo,
        "noisy": quantise(add_gaussian_noise(photo, 4 / 255, generator), clip=True),
        "jpeg": jpeg(photo, torch.tensor([70.0])),
        "shallow": shallow(photo, generator),
    }
    for side in SHAKES:
        shaken = to_srgb(convolve(to_linear(photo), shake_psf(generator, side), "valid").clamp(0, 1))
        grainy = add_gaussian_noise(shaken, 2 / 255, generator).clamp(0, 1)
        made[f"shaken {side}"] = jpeg(grainy, torch.tensor([80.0]))
    return made


def shallow(photo: Tensor, generator: torch.Generator) -> Tensor:
    """A photo of which a third is in focus."""
    soft = convolve(photo, disk_psf(8.0))
    coarse = torch.randn(1, 1, 3, 3, generator=generator)
    blob = F.interpolate(coarse, size=photo.shape[-2:], mode="bicubic", align_corners=True)
    level = blob.flatten().kthvalue(int(blob.numel() * 2 / 3)).values
    return torch.lerp(soft, photo, ((blob - level) * 4 + 0.5).clamp(0, 1))


if __name__ == "__main__":
    typer.run(main)
