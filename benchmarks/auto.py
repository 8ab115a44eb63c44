"""Measure which method `auto` chooses for photos that are sharp, blurred, noisy, or both, and what that costs.

    python benchmarks/auto.py DIR [--crop 384] [--jobs 2] [--json auto.json]

Four versions of a crop from the middle of each photo are restored: `sharp`; `blurred` by a seeded camera trajectory of
9, 11, ..., 31 px, with 0.5 % noise; `both`, the same with noise of sigma 25 of 255; `noisy`, sharp with that noise. All
are rounded to 8 bits. The candidates are: the photo unchanged, `l0_psf+wiener_stack` and `nidf` without any check, and
the denoised picture of `nidf`. PSNR of blurred versions is computed after the best quarter-pixel shift within 5 px,
with 15 px cropped.

Printed are the gain over the unchanged photo of each candidate and of `auto`; the lowest gain of `auto`; and how often
it is within 0.3 dB of the best candidate. The PSNR of an unchanged sharp photo counts as 50 dB, a little above that of
its 8-bit copy with invisible noise.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from kodak import PSF_SIDES, SIGMA, finite, read
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import psnr, psnr_aligned
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress

VERSIONS = ("sharp", "blurred", "both", "noisy")
CANDIDATES = {
    "l0_psf+wiener_stack": Options("l0_psf+wiener_stack", force=True),
    "denoised": Options("nidf", settings={"output": "denoised"}, force=True),
    "nidf": Options("nidf", force=True),
    "auto": Options(),
}
HEAVY = 25 / 255
UNCHANGED_SHARP = 50.0  # dB
NEAR, HARM = 0.3, 0.3  # dB

Row = dict[str, Any]


def main(
    photos: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of sharp photos.")],
    crop: Annotated[int, typer.Option(min=128, help="Side of the crop in pixels.")] = 384,
    jobs: Annotated[int, typer.Option(min=1, help="Number of photos restored at the same time, one thread each.")] = 2,
    json_file: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows.")] = None,
    version: Annotated[list[str] | None, typer.Option(help="Only this version; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of photos, from the first.")] = 24,
    every: Annotated[int, typer.Option(min=1, help="Only every N-th photo.")] = 1,
) -> None:
    """Print one row per photo and version, and the counts."""
    files = sorted(path for path in photos.iterdir() if path.suffix in (".png", ".jpg"))[::every][:limit]
    if not files:
        raise typer.BadParameter(f"no .png and no .jpg in {photos}")
    tasks = [(path, name, number, crop) for name in version or VERSIONS for number, path in enumerate(files)]
    with multiprocessing.get_context("spawn").Pool(jobs, torch.set_num_threads, (1,)) as pool:
        rows = list(_reported(pool.imap(measure, tasks), len(tasks)))
    Console().print(_table(rows))
    for line in _counts(rows):
        print(line)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n")


def measure(task: tuple[Path, str, int, int]) -> Row:
    """Make one version of a photo, and restore it by every candidate and by `auto`."""
    path, version, number, crop = task
    observed, sharp = spoil(_middle(read(path), crop), version, number)
    row: Row = {"photo": path.stem, "version": version}
    before = score(observed, sharp, version)
    for name, options in CANDIDATES.items():
        outcome = restore_picture(Observation(blurry=observed), options, Progress())
        after = score(quantise(outcome.image, clip=True), sharp, version) if outcome.changed else before
        row[name] = finite(after - before)
        if name == "auto":
            row |= {"method": outcome.method if outcome.changed else "unchanged", "notes": outcome.notes}
    return row


def spoil(sharp: Tensor, version: str, number: int) -> tuple[Tensor, Tensor]:
    """One version of a crop, and the sharp picture of the same size."""
    generator = torch.Generator().manual_seed(number)
    blurry = sharp
    if version in ("blurred", "both"):
        side = PSF_SIDES[number % len(PSF_SIDES)]
        blurry = convolve(sharp, shake_psf(generator, side), "valid")
        reach = side // 2
        sharp = sharp[..., reach : sharp.shape[-2] - reach, reach : sharp.shape[-1] - reach].contiguous()
    sigma = {"sharp": 0.0, "blurred": SIGMA}.get(version, HEAVY)
    return quantise(add_gaussian_noise(blurry, sigma, generator), clip=True), sharp


def score(picture: Tensor, sharp: Tensor, version: str) -> float:
    """PSNR in dB."""
    if version in ("blurred", "both"):
        return float(psnr_aligned(picture, sharp, crop=15, search=5, step=0.25))
    return min(float(psnr(picture, sharp)), UNCHANGED_SHARP)


def _middle(photo: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 if length > side else 0 for length in photo.shape[-2:])
    return photo[..., top : top + side, left : left + side].contiguous()


def _best(row: Row) -> float:
    """The gain of the best candidate, which may be the unchanged photo."""
    return max(0.0, *(row[name] for name in CANDIDATES if name != "auto"))


def _reported(rows: Iterator[Row], total: int) -> Iterator[Row]:
    console = Console(stderr=True)
    for number, row in enumerate(rows, 1):
        figures = " ".join(f"{name} {row[name]:+.2f}" for name in CANDIDATES)
        console.print(f"{number}/{total} {row['version']} {row['photo']}: {figures} ({row['method']})", highlight=False)
        yield row


def _table(rows: list[Row]) -> Table:
    table = Table("photo", "version", *CANDIDATES, "auto took", "notes")
    for row in rows:
        table.add_row(
            row["photo"],
            row["version"],
            *(f"{row[name]:+.2f}" for name in CANDIDATES),
            row["method"],
            " ".join(row["notes"]),
        )
    return table


def _counts(rows: list[Row]) -> Iterator[str]:
    for version in (*VERSIONS, "all"):
        some = [row for row in rows if version in ("all", row["version"])]
        if some:
            means = ", ".join(f"{name} {sum(row[name] for row in some) / len(some):+.2f}" for name in CANDIDATES)
            near = sum(row["auto"] >= _best(row) - NEAR for row in some)
            harmed = sum(row["auto"] < -HARM for row in some)
            lowest = min(row["auto"] for row in some)
            yield (
                f"{version}: mean gain {means}; auto: lowest {lowest:+.2f}, harmed {harmed}, "
                f"within {NEAR} dB of the best {near} of {len(some)}"
            )


if __name__ == "__main__":
    typer.run(main)
