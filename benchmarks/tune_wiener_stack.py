"""Measure the effect of settings and constants of `wiener_stack` on validation photos.

    python benchmarks/tune_wiener_stack.py DIR [--count 8]

The pictures are crops of validation photos (names ending in hex digit 0 or 1): with 2, 0.5 and 0.15 % white noise, and
as taken by a hand-held camera, with the true PSF and with one that has small errors, like a measured one; and all of
these with the PSF estimated by `l0_psf`. Each row changes one value; `sparse` is given for comparison. The network was
trained with the current constants, so a small gain by another value says little; train again after a change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from validation import blurred_crops, camera_crops

from unblur import methods
from unblur.datasets.base import Sample
from unblur.imaging.synthesis import perturb_psf
from unblur.methods import wiener_stack
from unblur.methods.wiener_stack import network, psf_correction
from unblur.metrics import psnr_aligned
from unblur.types import Observation

CONSTANTS = (
    (network, "_TRUST", (0.1, 0.2, 0.4)),
    (network, "_FIRST", (0.3, 0.47, 0.7)),
    (network, "_LAST", (0.7, 0.9, 1.2)),
    (psf_correction, "_UNEXPLAINED", (3.4, 6.7, 13.0)),
    (wiener_stack, "_FINEST_MEASURED", (0.6, 1.0, 1.5, 2.0)),
    (wiener_stack, "_FINEST_ESTIMATED", (0.2, 0.4, 0.8, 1.5)),
)
PASSES = (1, 2, 4, 8)
REFINEMENTS = (0, 1, 2, 3)
_LARGE = (13, 17, 19, 21, 23, 27, 31, 37)  # sides of PSFs in pixels
_WRONG = 0.15  # amount of `perturb_psf`
ERRORS = (0.0, 0.03, 0.06, 0.12, 0.2)


def main(photos: Path, count: int = 8) -> None:
    """Print the table."""
    sets = {
        "0.5 %": blurred_crops(photos, count=count, sigma=0.005, seed=11),
        "2 %": blurred_crops(photos, count=count, sigma=0.02, seed=12),
        "0.15 %": blurred_crops(photos, count=count, sigma=0.0015, seed=21, psf_sizes=_LARGE),
        "camera": camera_crops(photos, count=count, seed=13),
        "measured": measured(camera_crops(photos, count=count, sigma=0.0015, seed=22, psf_sizes=_LARGE)),
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
    for error in ERRORS:
        row(f"psf_error {error}", "wiener_stack", psf_error=error)
    for refinements in REFINEMENTS:
        row(f"refinements {refinements}", "wiener_stack", refinements=refinements)
    for module, constant, values in CONSTANTS:
        for value in values:
            with patch.object(module, constant, value):
                row(f"{constant} {value}", "wiener_stack")
    Console().print(table)


def measured(samples: list[Sample]) -> list[Sample]:
    """The samples with small errors in their PSFs, like those of measured PSFs."""
    generator = torch.Generator().manual_seed(5)
    wrong = [perturb_psf(F.pad(sample.psf[0, 0].double(), [2] * 4), _WRONG, generator) for sample in samples]
    return [replace(sample, psf=psf[None, None].float()) for sample, psf in zip(samples, wrong, strict=True)]


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
