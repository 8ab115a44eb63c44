"""Time and memory of `unblur restore` on a 12-megapixel JPEG: blind, by `selfdeblur`, and with the known PSF.

    python benchmarks/large_photo.py PHOTOS_DIR [--keep DIR]

The photo is made here: photos of the folder tiled and mirrored to 4000 x 3000 pixels, shaken by a 31 px PSF, with
0.5 % noise, as a JPEG of quality 95. Each run is a process of its own, timed from start to exit; its peak memory is
what the operating system says of it (ru_maxrss). A blind run that leaves the photo alone stops early, so that the
whole work is also timed with --force.
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

WIDTH, HEIGHT = 4000, 3000
PSF_SIDE, SIGMA, SEED = 31, 0.005, 0
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of JPEG photos.")],
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Make the pictures here and leave them; else a temporary folder.")
    ] = None,
) -> None:
    """Print wall seconds and peak memory of each run."""
    table = Table("run", "seconds", "peak MB", "left alone", title=f"{WIDTH}x{HEIGHT} JPEG, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # In a process of its own: Linux counts its parent's peak memory as a new process's own.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            photo, psf = pool.apply(make_photo, (photos, folder))
        for name, options in (
            ("blind", []),
            ("blind, --force", ["--force"]),
            ("selfdeblur, --force", ["--method", "selfdeblur", "--force"]),
            ("known PSF", ["--psf", str(psf)]),
            ("known PSF, chroma=full", ["--psf", str(psf), "--set", "chroma=full"]),
            ("known PSF, hyper_laplacian", ["--psf", str(psf), "--method", "hyper_laplacian"]),
        ):
            output = folder / f"large.{len(table.rows)}.jpg"
            command = ["restore", str(photo), "-o", str(output), "--overwrite", *options]
            seconds, megabytes = run(command)
            left_alone = output.read_bytes() == photo.read_bytes()  # then not all of the work was done
            table.add_row(name, f"{seconds:.1f}", f"{megabytes:.0f}", "yes" if left_alone else "no")
    Console().print(table)


def make_photo(photos: Path, folder: Path) -> tuple[Path, Path]:
    """Write the shaken photo and its PSF, and return both places."""
    generator = torch.Generator().manual_seed(SEED)
    psf = shake_psf(generator, PSF_SIDE)
    sharp = tiled(photos, WIDTH + PSF_SIDE - 1, HEIGHT + PSF_SIDE - 1)
    area = torch.from_numpy(np.asarray(sharp, np.float32) / 255).permute(2, 0, 1)[None]
    blurry = add_gaussian_noise(convolve(area, psf, "valid"), SIGMA, generator, clip=True)
    levels = (blurry[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    photo, kernel = folder / "large.jpg", folder / "large.psf.png"
    Image.fromarray(levels.numpy()).save(photo, quality=95)
    write_psf(psf.numpy(), kernel, overwrite=True)
    return photo, kernel


def tiled(photos: Path, width: int, height: int) -> Image.Image:
    """Photos side by side and mirrored, until a picture of this size is full."""
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
    """Run `unblur` with these arguments; its wall seconds and its own peak memory in megabytes."""
    started = time.perf_counter()
    child = os.posix_spawn(sys.executable, [sys.executable, "-m", "unblur", *arguments], os.environ)
    _, status, usage = os.wait4(child, 0)  # of this child alone, where RUSAGE_CHILDREN is the largest of all so far
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"unblur {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss * MAXRSS_UNIT / 1e6


if __name__ == "__main__":
    typer.run(main)
