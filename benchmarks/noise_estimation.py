"""Measure the error of `estimate_noise_sigma` on photos with added noise.

    python benchmarks/noise_estimation.py --photos DIR [--crop 512] [--all]

A photo counts as missed when the error of its estimate is larger than 10 % of the true sigma, or larger than
one level (of 255) where sigma is below 10. "8 bit" means that the noisy photo was clipped to [0, 1] and rounded to
8 bits. The noise of the photos themselves adds to the estimate.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from unblur.imaging.noise import add_gaussian_noise, estimate_noise_sigma, quantise

SIGMAS = (0, 1, 2, 5, 10, 20, 30, 40)  # levels of 255
VALIDATION_ENDINGS = ("0", "1")  # last hex digit of the name; the other photos are for training


def main() -> None:
    """Read the options, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR", help="folder of JPEG photos")
    parser.add_argument("--crop", type=int, metavar="PX", help="use only the central PX x PX of each photo")
    parser.add_argument("--all", action="store_true", help="use all photos, not only those whose names end in 0 or 1")
    options = parser.parse_args()
    files = [
        path for path in sorted(options.photos.glob("*.jpg")) if options.all or path.stem.endswith(VALIDATION_ENDINGS)
    ]
    if not files:
        parser.error(f"no photos to measure in {options.photos}")

    errors, seconds = measure(files, options.crop)  # (photos, sigmas, 2)
    extent = f"middle {options.crop} px" if options.crop else "whole"
    table = Table(title=f"estimate - true sigma, in levels of 255: {len(files)} photos, {extent}")
    table.add_column("sigma", justify="right", no_wrap=True)
    for kind in ("float", "8 bit"):
        for heading in (f"{kind} mean", "low", "high", "miss"):
            table.add_column(heading, justify="right", no_wrap=True)
    for sigma, at_sigma in zip(SIGMAS, errors.transpose(1, 2, 0), strict=True):
        cells = [str(sigma)]
        for error in at_sigma:
            missed = int((np.abs(error) > max(1.0, 0.1 * sigma)).sum())
            cells += [f"{error.mean():+.2f}", f"{error.min():+.2f}", f"{error.max():+.2f}", str(missed)]
        table.add_row(*cells)
    Console().print(table)
    Console().print(f"{seconds:.2f} s a picture")


def measure(files: list[Path], crop: int | None) -> tuple[np.ndarray, float]:
    """Errors in levels, `(photos, sigmas, 2)`, for float and for 8-bit pictures, and seconds per estimate."""
    errors = np.zeros((len(files), len(SIGMAS), 2))
    seconds = 0.0
    for number, path in enumerate(track(files, description="measuring")):
        clean = read(path, crop)
        for column, sigma in enumerate(SIGMAS):
            generator = torch.Generator().manual_seed(1000 * number + sigma)
            noisy = add_gaussian_noise(clean, sigma / 255, generator)
            for kind, picture in enumerate((noisy, quantise(noisy, clip=True))):
                began = time.perf_counter()
                errors[number, column, kind] = float(estimate_noise_sigma(picture)) * 255 - sigma
                seconds += time.perf_counter() - began
    return errors, seconds / errors.size


def read(path: Path, crop: int | None) -> Tensor:
    """A photo as `(1, 3, H, W)` in [0, 1]; with `crop`, its centre only."""
    pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    if crop:
        top, left = ((side - crop) // 2 if side > crop else 0 for side in pixels.shape[:2])
        pixels = pixels[top : top + crop, left : left + crop]
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


if __name__ == "__main__":
    main()
