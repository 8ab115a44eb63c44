"""Measure time and memory of `unblur restore` on a large JPEG: blind, with `selfdeblur`, and with a known PSF.

    python benchmarks/large_photo.py PHOTOS_DIR [--megapixels 12] [--only "known PSF, hyper_laplacian"] [--keep DIR]

The photo is made here: photos of the folder are put side by side and mirrored to this many pixels (4:3), blurred by a
31 px PSF, with 0.5 % noise, and saved as a JPEG of quality 95. Each run is a separate process, timed from start to
exit; its peak memory is `ru_maxrss` of the operating system. A blind run that leaves the photo alone stops early;
therefore the blind run is also timed with --force.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from unblur.image_io import write_psf
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf

STRIP = 1000  # number of rows that are blurred at a time
PSF_SIDE, SIGMA, SEED = 31, 0.005, 0
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


RUNS = {
    "blind": [],
    "blind, --force": ["--force"],
    "selfdeblur, --force": ["--method", "selfdeblur", "--force"],
    "known PSF": ["--psf", "PSF"],
    "known PSF, chroma=full": ["--psf", "PSF", "--set", "chroma=full"],
    "known PSF, hyper_laplacian": ["--psf", "PSF", "--method", "hyper_laplacian"],
}


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of JPEG photos.")],
    megapixels: Annotated[float, typer.Option(help="Size of the photo.")] = 12.0,
    only: Annotated[list[str] | None, typer.Option(help="Name of a run; may be repeated. Default: all.")] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the pictures in this folder. Default: none is kept.")
    ] = None,
) -> None:
    """Print wall seconds and peak memory of each run."""
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    table = Table("run", "seconds", "peak MB", "left alone", title=f"{width}x{height} JPEG, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # In a separate process: on Linux, a new process starts with the peak memory of its parent.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            photo, psf = pool.apply(make_photo, (photos, folder, width, height))
        for name in only or RUNS:
            options = [str(psf) if option == "PSF" else option for option in RUNS[name]]
            output = folder / f"large.{len(table.rows)}.jpg"
            command = ["restore", str(photo), "-o", str(output), "--overwrite", *options]
            seconds, megabytes = run(command)
            left_alone = output.read_bytes() == photo.read_bytes()  # then the run stopped early
            table.add_row(name, f"{seconds:.1f}", f"{megabytes:.0f}", "yes" if left_alone else "no")
    Console().print(table)


def make_photo(photos: Path, folder: Path, width: int, height: int) -> tuple[Path, Path]:
    """Write the blurry photo and its PSF, and return both paths."""
    generator = torch.Generator().manual_seed(SEED)
    psf = shake_psf(generator, PSF_SIDE)
    sharp = np.asarray(tiled(photos, width + PSF_SIDE - 1, height + PSF_SIDE - 1))  # (H', W', 3)
    levels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP):
        rows = torch.from_numpy(sharp[top : min(top + STRIP, height) + PSF_SIDE - 1].copy())
        area = rows.permute(2, 0, 1)[None].float() / 255
        blurry = add_gaussian_noise(convolve(area, psf, "valid"), SIGMA, generator, clip=True)
        levels[top : top + STRIP] = (blurry[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    photo, kernel = folder / "large.jpg", folder / "large.psf.png"
    Image.fromarray(levels).save(photo, quality=95)
    write_psf(psf.numpy(), kernel, overwrite=True)
    return photo, kernel


def tiled(photos: Path, width: int, height: int) -> Image.Image:
    """A picture of this size, filled with photos side by side, every second one mirrored."""
    files = sorted(photos.glob("*.jpg"))
    if not files:
        raise typer.BadParameter(f"no .jpg in {photos}")
    whole = Image.new("RGB", (width, height))
    top = number = 0
    while top < height:
        left, lowest = 0, height
        while left < width:
            with Image.open(files[number % len(files)]) as photo:
                tile = photo.convert("RGB")
            tile = ImageOps.mirror(tile) if number % 2 else tile
            whole.paste(tile, (left, top))
            left, lowest, number = left + tile.width, min(lowest, top + tile.height), number + 1
        top = lowest
    return whole


def run(arguments: list[str]) -> tuple[float, float]:
    """Run `unblur` with these arguments; return wall time in seconds and peak memory in megabytes."""
    started = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, "-m", "unblur", *arguments], os.environ)
    _, status, usage = os.wait4(child, 0)  # of this child; RUSAGE_CHILDREN gives the maximum of all children
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"unblur {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss * MAXRSS_UNIT / 1e6


if __name__ == "__main__":
    typer.run(main)
