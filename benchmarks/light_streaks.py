"""Measure how often the lights of a night photo give its PSF, and what restoring with it gains.

    python benchmarks/light_streaks.py PHOTOS [--count 40]

From the photos are made `--count` pictures each of the kinds `lights`, `sharp`, `shallow` and `moving` of
`shaken_scenes.py`. Printed is, for each kind, in how many `solvers.light_streaks.streak_psf` finds a PSF, which should
be none but in `lights`, and how much nearer to the sharp picture the result of the method `light_streaks` is than the
photo: the mean, and the worst, in dB at the best shift.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from shaken_scenes import shaken_scene

from unblur import methods
from unblur.metrics import psnr_aligned
from unblur.types import Observation

KINDS = ("lights", "sharp", "shallow", "moving")
_SIDE, _CROP, _SEARCH = 512, 32, 24  # pixels


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photographs.")],
    count: Annotated[int, typer.Option(help="Pictures of each kind.")] = 40,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print a line for each picture in which a PSF is found, and a summary of each kind."""
    torch.set_num_threads(threads)
    paths = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    for kind in KINDS:
        gains = []
        for number in range(count):
            scene = shaken_scene(paths, kind, number, _SIDE)
            made = methods.get("light_streaks")(Observation(blurry=scene.blurry))
            if not made.changed or made.image is None or made.psf is None:
                continue
            before, after = (
                float(psnr_aligned(one.clamp(0, 1), scene.sharp, crop=_CROP, search=_SEARCH, step=0.5))
                for one in (scene.blurry, made.image)
            )
            gains.append(after - before)
            print(scene.name, tuple(made.psf.shape[-2:]), f"{gains[-1]:+.2f} dB", flush=True)
        found = f"{kind}: {len(gains)} of {count} found"
        print(found + (f", {sum(gains) / len(gains):+.2f} dB, worst {min(gains):+.2f}" if gains else ""), flush=True)


if __name__ == "__main__":
    typer.run(main)
