"""Seconds and memory of large photos of several kinds, restored as a folder: the figures of docs/scaling.md.

    python benchmarks/scaling.py PHOTOS_DIR [--megapixels 12] [--jobs 2] [--each 2] [--kind shaken]

Kinds: `sharp`; `shaken`, one PSF of 31 px; `noisy`, sharp with noise of 8 of 255; `turned`, the camera also rolled by
.3 degrees. They are photos of PHOTOS_DIR put side by side, JPEG of quality 95, `--each` of each kind, each with another
part of the photos. All are restored by one `unblur restore DIR --jobs N`, with one thread per photo, so with `--jobs 2`
two photos share the memory bus. The figures are those of the manifest. It also prints what a million photos take for
some mixtures of kinds.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from large_photo import tiled
from PIL import Image
from rich.console import Console
from rich.table import Table

from unblur.imaging.camera_rotation import blur_by_rotation
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf

KINDS = ("sharp", "shaken", "noisy", "turned")
PSF_SIDE, SIGMA, NOISE, ROLL = 31, 0.005, 8 / 255, 0.3
MARGIN = 64  # pixels that only the moving camera sees
STEP = 200  # pixels by which the parts of the photos differ
PHOTOS = 1_000_000
MIXTURES: dict[str, Mapping[str, float]] = {
    "an archive: 90 % sharp, 5 % shaken, 4 % noisy, 1 % turned": dict(
        zip(KINDS, (0.90, 0.05, 0.04, 0.01), strict=True)
    ),
    "rejected photos: 20 % sharp, 40 % shaken, 20 % noisy, 20 % turned": dict(
        zip(KINDS, (0.2, 0.4, 0.2, 0.2), strict=True)
    ),
}


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of JPEG photos.")],
    megapixels: Annotated[float, typer.Option(help="Size of a photo.")] = 12.0,
    jobs: Annotated[int, typer.Option(min=1, help="Photos restored at the same time.")] = 2,
    each: Annotated[int, typer.Option(min=1, help="Photos of each kind.")] = 2,
    kind: Annotated[list[str] | None, typer.Option(help="Only this kind; may be repeated.")] = None,
) -> None:
    """Print one row per kind, and one per mixture."""
    kinds = kind or list(KINDS)
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise typer.BadParameter(f"no kind '{unknown[0]}'. Kinds: {', '.join(KINDS)}.")
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(height * 4 / 3)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photos").mkdir()
        for name in kinds:
            for number in range(each):
                picture = of_kind(name, number, photos, width, height)
                Image.fromarray(picture).save(folder / "photos" / f"{name}-{number}.jpg", quality=95)
        command = [sys.executable, "-m", "unblur", "restore", str(folder / "photos"), "-o", str(folder / "out")]
        subprocess.run([*command, "--jobs", str(jobs), "--quiet"], check=True)
        lines = [json.loads(line) for line in (folder / "out" / "manifest.jsonl").read_text().splitlines()]
    table = Table("kind", "seconds", "largest MB", "method", title=f"{width} x {height} px, {jobs} at a time")
    seconds = {}
    for name in kinds:
        rows = [line for line in lines if Path(line["input"]).name.startswith(name)]
        seconds[name] = float(np.mean([row["seconds"] for row in rows]))
        done = ", ".join(sorted({row["method"] if row["changed"] else "left alone" for row in rows}))
        table.add_row(name, f"{seconds[name]:.1f}", f"{max(row['memory_mb'] for row in rows):.0f}", done)
    Console().print(table)
    for mixture, shares in MIXTURES.items():
        if shares.keys() <= seconds.keys():
            hours = PHOTOS * sum(share * seconds[name] for name, share in shares.items()) / 3600
            print(f"{mixture}: {hours:.0f} processor hours for {PHOTOS} photos")
    print(f"{os.cpu_count()} processors; memory is the largest of a worker process until then, so of all kinds before")


def of_kind(kind: str, number: int, photos: Path, width: int, height: int) -> np.ndarray:
    """A picture `(height, width, 3)` in 8 bits."""
    generator = torch.Generator().manual_seed(number)
    whole = tiled(photos, width + 2 * MARGIN + STEP * number, height + 2 * MARGIN)
    sharp = torch.from_numpy(np.asarray(whole)[:, STEP * number :].copy())  # (H', W', 3)
    psf, poses = shake_psf(generator, PSF_SIDE), turning(number)
    channels = []
    for channel in sharp.unbind(-1):  # one after the other, to need less memory
        light = channel[None, None].float() / 255
        if kind == "shaken":
            light = convolve(light, psf)
        elif kind == "turned":
            light = blur_by_rotation(light, poses, width)
        sigma = NOISE if kind == "noisy" else SIGMA
        seen = add_gaussian_noise(light[..., MARGIN:-MARGIN, MARGIN:-MARGIN], sigma, generator, clip=True)
        channels.append((seen[0, 0] * 255).round().byte())
    return torch.stack(channels, -1).numpy()


def turning(number: int) -> torch.Tensor:
    """Poses `(24, 3)` of a camera that moves along an arc of 16 px and rolls by `ROLL` degrees."""
    time = torch.linspace(-1, 1, 24, dtype=torch.float64)
    turn = 0.7 * number
    x, y = 8 * time, 6 * time.square() - 2
    shifts = torch.stack((x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)), 1)
    return torch.cat((shifts, math.radians(ROLL) / 2 * time[:, None]), 1)


if __name__ == "__main__":
    typer.run(main)
