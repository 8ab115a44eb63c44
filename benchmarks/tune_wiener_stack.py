"""What `wiener_stack` gains on validation photos from its passes, its noise levels, its trust and its doubt.

    python benchmarks/tune_wiener_stack.py DIR [--count 8]

Crops of validation photos (names ending in hex digit 0 or 1): with 0.5 % and 2 % white noise, and as a hand-held camera
takes them; each with its PSF and with the one that `l0_psf` finds. A row changes one thing; `sparse` is what to beat.
The weights have learned with the constants as they are, so what only a little beats them says nothing; after a change,
train again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from validation import blurred_crops, camera_crops

from unblur import methods
from unblur.datasets.base import Sample
from unblur.methods.wiener_stack import network
from unblur.metrics import psnr_aligned
from unblur.types import Observation

CONSTANTS = (
    ("_TRUST", (0.1, 0.2, 0.4)),
    ("_FIRST", (0.3, 0.47, 0.7)),
    ("_LAST", (0.7, 0.9, 1.2)),
)
PASSES = (1, 2, 4, 8)
DOUBTS = (0.0, 0.03, 0.06, 0.12, 0.2)


def main(photos: Path, count: int = 8) -> None:
    """Print the table."""
    sets = {
        "0.5 %": blurred_crops(photos, count=count, sigma=0.005, seed=11),
        "2 %": blurred_crops(photos, count=count, sigma=0.02, seed=12),
        "camera": camera_crops(photos, count=count, seed=13),
    }
    estimate = methods.get("l0_psf")
    estimates = {
        name: [estimate(Observation(blurry=sample.blurry)).psf for sample in samples] for name, samples in sets.items()
    }
    table = Table("", *sets, *(f"{name}, l0_psf" for name in sets))

    def row(name: str, method: str, **settings: object) -> None:
        known = [
            mean(samples, [sample.psf for sample in samples], method, settings, False) for samples in sets.values()
        ]
        found = [mean(samples, estimates[name], method, settings, True) for name, samples in sets.items()]
        table.add_row(name, *(f"{figure:.2f}" for figure in known + found))

    row("sparse", "sparse")
    row("wiener_stack", "wiener_stack")
    for passes in PASSES:
        row(f"passes {passes}", "wiener_stack", passes=passes)
    for doubt in DOUBTS:
        row(f"doubt {doubt}", "wiener_stack", doubt=doubt)
    for constant, values in CONSTANTS:
        for value in values:
            with patch.object(network, constant, value):
                row(f"{constant} {value}", "wiener_stack")
    Console().print(table)


def mean(samples: list[Sample], psfs: list[Tensor], method: str, settings: dict[str, object], estimated: bool) -> float:
    """The mean shift-aligned PSNR over `samples`."""
    restore: Callable = methods.get(method)
    figures = []
    for sample, psf in zip(samples, psfs, strict=True):
        observation = Observation(blurry=sample.blurry, psf=psf, psf_estimated=estimated)
        restored = restore(observation, settings).image
        figures.append(float(psnr_aligned(restored.clamp(0, 1), sample.sharp)))
    return sum(figures) / len(figures)


if __name__ == "__main__":
    typer.run(main)
