"""Measure whether `unblur restore` leaves sharp photos alone and improves shaken ones, on the 24 Kodak photos.

    python benchmarks/kodak.py KODAK_DIR [--method auto] [--jobs 2] [--json kodak.json]

Three versions of each photo, as 8-bit PNG files, are restored by the function that `unblur restore` uses:

sharp    the photo itself. It should be recognised as not blurred, and not be changed.
noisy    the photo with 0.5 % noise. It should not be changed either.
blurred  the photo blurred by a seeded camera trajectory of 9, 11, ..., 31 px, with 0.5 % noise. Only the valid part
         of the convolution is kept, so that the borders are realistic: half the PSF is lost on every side.

`gain` is PSNR(output, sharp) - PSNR(input, sharp). For the blurred version, both PSNRs are computed after the best
quarter-pixel shift within 5 px, with 15 px cropped (a blind method may return the picture shifted). The PSNR of an
unchanged sharp photo is infinite, so a changed one counts as made worse when its PSNR is more than half a decibel below
46 dB, the PSNR of a photo with 0.5 % noise. No parameter is tuned on these photos.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import psnr, psnr_aligned
from unblur.pipeline.options import Options
from unblur.pipeline.restore import restore_file

VERSIONS = ("sharp", "noisy", "blurred")
SIGMA = 0.005
PSF_SIDES = tuple(range(9, 32, 2))
HARM, GAIN = 0.5, 1.0  # dB
INVISIBLE = -20 * np.log10(SIGMA)  # dB, the PSNR of a sharp photo to which noise of SIGMA was added

Row = dict[str, Any]


def main(
    photos: Annotated[Path, typer.Argument(metavar="KODAK_DIR", help="The folder of kodim01.png ... kodim24.png.")],
    jobs: Annotated[int, typer.Option(min=1, help="Number of photos restored at the same time, one thread each.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write rows and counts.")] = None,
    version: Annotated[list[str] | None, typer.Option(help="Only this version; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of photos, from the first.")] = 24,
    seed: Annotated[int, typer.Option(help="Seed of the trajectories and the noise.")] = 0,
    method: Annotated[str, typer.Option(help="A method or a chain.")] = "auto",
) -> None:
    """Print one row per photo and version, and the counts."""
    files = sorted(photos.glob("kodim*.png"))[:limit]
    if not files:
        raise typer.BadParameter(f"no kodim*.png in {photos}")
    tasks = [(path, name, seed + number, method) for name in version or VERSIONS for number, path in enumerate(files)]
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        rows = list(report_each(pool.imap(measure, tasks), len(tasks)))
    counts = {name: count(name, found) for name in VERSIONS if (found := [r for r in rows if r["version"] == name])}
    Console().print(table_of(rows))
    for row in rows:
        if row["version"] == "blurred" and not row["changed"]:
            print(f"declined: {row['photo']}, {row['psf_side']} px: {' '.join(row['notes'])}")
    for name, figures in counts.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in figures.items()))
    if json_file is not None:
        json_file.write_text(
            json.dumps({"method": method, "sigma": SIGMA, "seed": seed, "rows": rows, "counts": counts}, indent=1)
            + "\n"
        )


def report_each(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """Yield the rows, and print a line on stderr for each."""
    console = Console(stderr=True)
    for number, row in enumerate(rows, 1):
        done = "changed" if row["changed"] else "left alone"
        console.print(
            f"{number}/{total} {row['version']} {row['photo']}: {done}, {row['seconds']:.0f} s", highlight=False
        )
        yield row


def measure(task: tuple[Path, str, int, str]) -> Row:
    """Make one version of one photo, write it to a file, restore the file, and score the result."""
    path, version, seed, method = task
    observed, sharp, psf_side = spoil(read(path), version, seed)
    score: Callable[[Tensor, Tensor], Tensor] = psnr
    if version == "blurred":
        score = functools.partial(psnr_aligned, crop=15, search=5, step=0.25)
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / path.name, Path(folder) / "restored.png"
        write(observed, source)
        result = restore_file(source, output, Options(method))
        before, after = (float(score(read(file), sharp)) for file in (source, output))
    return {
        "photo": path.stem,
        "version": version,
        "psf_side": psf_side,
        "changed": result.changed,
        "psnr_before": finite(before),
        "psnr_after": finite(after),
        "gain": after - before if np.isfinite(before) else None,
        "seconds": round(result.seconds, 2),
        "notes": result.notes,
    }


def spoil(sharp: Tensor, version: str, seed: int) -> tuple[Tensor, Tensor, int | None]:
    """One version of a photo, the sharp photo of the same size, and the PSF's side in pixels."""
    generator = torch.Generator().manual_seed(seed)
    if version == "sharp":
        return sharp, sharp, None
    if version == "noisy":
        return add_gaussian_noise(sharp, SIGMA, generator, clip=True), sharp, None
    side = PSF_SIDES[seed % len(PSF_SIDES)]
    blurry = convolve(sharp, shake_psf(generator, side), "valid")
    reach = side // 2
    inside = sharp[..., reach : sharp.shape[-2] - reach, reach : sharp.shape[-1] - reach]
    return add_gaussian_noise(blurry, SIGMA, generator, clip=True), inside, side


def count(version: str, rows: list[Row]) -> dict[str, Any]:
    """The counts and gains of one version."""
    untouched = sum(not row["changed"] for row in rows)
    figures: dict[str, Any] = {"photos": len(rows), "left alone": untouched}
    if version == "sharp":
        after = [row["psnr_after"] for row in rows if row["psnr_after"] is not None]
        figures["made worse"] = sum(value < INVISIBLE - HARM for value in after)
        figures["lowest PSNR of a changed one"] = round(min(after), 2) if after else "none changed"
        return figures
    gains = [row["gain"] for row in rows]
    figures["made worse by more than 0.5 dB"] = sum(gain < -HARM for gain in gains)
    figures["lowest gain"] = round(min(gains), 2)
    if version == "blurred":
        figures["improved by 1 dB or more"] = sum(gain >= GAIN for gain in gains)
        figures["mean gain"] = round(sum(gains) / len(gains), 2)
    return figures


def table_of(rows: list[Row]) -> Table:
    """A table with one row per photo and version."""
    table = Table("photo", "version", "PSF", "changed", "before", "after", "gain dB", "seconds")
    for row in rows:
        table.add_row(
            row["photo"],
            row["version"],
            "" if row["psf_side"] is None else f"{row['psf_side']} px",
            "yes" if row["changed"] else "no",
            *("inf" if row[key] is None else f"{row[key]:.2f}" for key in ("psnr_before", "psnr_after")),
            "" if row["gain"] is None else f"{row['gain']:+.2f}",
            f"{row['seconds']:.1f}",
        )
    return table


def read(path: Path) -> Tensor:
    """A photo as `(1, 3, H, W)` in [0, 1]."""
    with Image.open(path) as photo:
        pixels = np.asarray(photo.convert("RGB"), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def write(picture: Tensor, path: Path) -> None:
    """Write a picture `(1, 3, H, W)` in [0, 1] as an 8-bit PNG."""
    levels = (picture[0].permute(1, 2, 0) * 255).round().to(torch.uint8)
    Image.fromarray(levels.numpy()).save(path)


def finite(value: float) -> float | None:
    """`value` rounded, or None for the infinite PSNR of identical pictures, which strict JSON cannot hold."""
    return round(value, 4) if np.isfinite(value) else None


if __name__ == "__main__":
    typer.run(main)
