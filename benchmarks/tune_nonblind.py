"""Find the prior weight that restores validation photos best, per method and noise level.

    python benchmarks/tune_nonblind.py DIR [--method sparse --method tv_admm] [--count 18]

The blurry pictures are synthesised: validation photos (names ending in hex digit 0 or 1) at half size, camera-shake
PSFs of 11..27 px, Gaussian noise, 8 bits. Rows are methods and noise levels, columns are values of `strength`, and the
best value of each row is bold. The defaults are right when it is in the column of 1.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer
from rich.console import Console
from rich.table import Table
from validation import blurred_crops

from unblur import methods as registry
from unblur.metrics import psnr_aligned
from unblur.types import Observation

STRENGTHS = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)


def main(
    photos: Path,
    method: list[str] = ["hyper_laplacian", "sparse", "tv_admm", "wiener"],  # noqa: B006 (typer reads it)
    count: int = 18,
    sigma: list[float] = [0.003, 0.01, 0.03],  # noqa: B006
) -> None:
    """Print the table."""
    table = Table("method", "sigma", *(f"x{strength}" for strength in STRENGTHS))
    for level in sigma:
        samples = blurred_crops(photos, count=count, sigma=level)
        for name in method:
            means = [mean_psnr(name, strength, level, samples) for strength in STRENGTHS]
            cells = [f"[bold]{mean:.2f}[/]" if mean == max(means) else f"{mean:.2f}" for mean in means]
            table.add_row(name, str(level), *cells)
    Console().print(table)


def mean_psnr(name: str, strength: float, sigma: float, samples: list) -> float:
    """The mean over `samples` of the shift-aligned PSNR."""
    method = registry.get(name)
    figures = []
    for sample in samples:
        observation = Observation(blurry=sample.blurry, psf=sample.psf, sigma=sigma)
        restored = method(observation, {"strength": strength}).image
        figures.append(psnr_aligned(restored.clamp(0, 1), sample.sharp))
    return float(torch.cat(figures).mean())


if __name__ == "__main__":
    typer.run(main)
