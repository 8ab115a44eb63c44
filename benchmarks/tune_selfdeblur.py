"""Compare the PSFs that `selfdeblur` and `l0_psf` estimate on validation photos, with given settings.

    python benchmarks/tune_selfdeblur.py DIR [--set candidates=1] [--set rounds=4] [--count 12] [--taken by-camera]

DIR holds the photos; only validation photos (names ending in hex digit 0 or 1) are used, at half size, blurred by
PSFs of 11..31 px: with white noise (`plainly`), or as taken by a hand-held camera (`by-camera`). Prints the
shift-aligned PSNR after `sparse` and `hyper_laplacian` with the PSF of `l0_psf`, with that of `selfdeblur`, and
with the true one. A picture is left out of the means if the PSF of `l0_psf` is wrong altogether (more than `LOST` dB
below the true one), since `selfdeblur` cannot refine such a PSF.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from validation import blurred_crops, camera_crops

from unblur import methods as registry
from unblur.cli.console import parse_settings
from unblur.metrics import psnr_aligned
from unblur.types import Observation

LOST = 6.0


class Taken(StrEnum):
    """How the blurry crops are synthesised."""

    plainly = "plainly"
    by_camera = "by-camera"


def main(
    photos: Path,
    settings: Annotated[list[str] | None, typer.Option("--set")] = None,
    count: int = 24,
    taken: Taken = Taken.by_camera,
) -> None:
    """Print one line per picture, and the means."""
    finders = {"l0_psf": {}, "selfdeblur": parse_settings(settings or [])}
    finals = [registry.get(name) for name in ("sparse", "hyper_laplacian")]
    if taken is Taken.by_camera:
        samples = camera_crops(photos, count=count)
    else:
        samples = blurred_crops(photos, count=count, sigma=0.005, psf_sizes=(11, 15, 19, 23, 27, 31), seed=0)
    rows = []
    for sample in samples:
        psfs = [registry.get(name)(Observation(blurry=sample.blurry), own).psf for name, own in finders.items()]
        row = [
            float(psnr_aligned(final(Observation(blurry=sample.blurry, psf=psf)).image.clamp(0, 1), sample.sharp))
            for psf in (*psfs, sample.psf)
            for final in finals
        ]
        lost = row[4] - row[0] > LOST
        print(
            f"{sample.name}: " + " ".join(f"{figure:6.2f}" for figure in row) + (" (left out)" if lost else ""),
            flush=True,
        )
        rows += [] if lost else [row]
    print("l0_psf, selfdeblur, true PSF, each with sparse and hyper_laplacian:")
    print(f"mean of {len(rows)}: " + " ".join(f"{figure:6.2f}" for figure in torch.tensor(rows).mean(0).tolist()))


if __name__ == "__main__":
    typer.run(main)
