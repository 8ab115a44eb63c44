"""Compare the speed of `selfdeblur` in its released configuration with a direct implementation.

    python benchmarks/selfdeblur_speed.py DIR                  # seconds per iteration, and the ratio
    python benchmarks/selfdeblur_speed.py DIR --iterations 500 # also the PSNR of both after so many iterations

DIR holds Levin's 32 files. Each implementation runs in separate processes, in turns: the direct one
(`plain_selfdeblur.py`) with the default environment, `selfdeblur` with the environment variables that the `unblur`
command sets, and the direct one with these variables.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from plain_selfdeblur import Recipe
from torch import Tensor

from unblur.cli import ENVIRONMENT
from unblur.datasets import get
from unblur.datasets.base import Sample
from unblur.methods.selfdeblur.attempts import GREY_HALVINGS
from unblur.methods.selfdeblur.fitting import Plan, fit
from unblur.types import Progress

PICTURES = {"im01_ker02": 15, "im03_ker06": 11}  # picture, side of its PSF
TIMED, WARM_UP, ROUNDS = 6, 2, 3
PLAIN, OURS, PLAIN_TUNED = "plain", "ours", "plain, with our environment"


def main(
    data: Path,
    iterations: int = 0,
    only: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print the figures."""
    if only:
        print(statistics.median(timed(only, sample(data, "im01_ker02"))))
        return
    figures: dict[str, list[float]] = {PLAIN: [], OURS: [], PLAIN_TUNED: []}
    for _ in range(ROUNDS):
        for name, seconds in figures.items():
            tuned = {} if name == PLAIN else ENVIRONMENT
            command = [sys.executable, __file__, str(data), "--only", name]
            seconds.append(float(subprocess.check_output(command, env={**os.environ, **tuned})))
    for name, seconds in figures.items():
        ratio = statistics.median(seconds) / statistics.median(figures[OURS])
        print(f"{name}: {statistics.median(seconds):.3f} s an iteration, {ratio:.2f} times ours", flush=True)
    if iterations:
        agreement(data, iterations)


def timed(name: str, picture: Sample) -> list[float]:
    """Seconds of each iteration after the warm-up."""
    marks: list[float] = []
    if name == OURS:
        run_ours(picture, WARM_UP + TIMED, Watch(lambda: marks.append(time.perf_counter())))
    else:
        recipe = Recipe(picture.blurry, PICTURES[picture.name])
        for _ in range(WARM_UP + TIMED):
            recipe.step()
            marks.append(time.perf_counter())
    return [after - before for before, after in zip(marks[WARM_UP - 1 :], marks[WARM_UP:], strict=False)]


def agreement(data: Path, iterations: int) -> None:
    """Print the PSNR of both at four iterations near the end."""
    at = [iterations - 150, iterations - 100, iterations - 50, iterations]
    means = []
    for name in PICTURES:
        picture = sample(data, name)
        plain, reach = [], PICTURES[name] // 2
        recipe = Recipe(picture.blurry, PICTURES[name])
        for iteration in range(1, iterations + 1):
            image, _, _ = recipe.step()
            if iteration in at:
                plain.append(score(image, picture))
        watch = Watch()
        last = run_ours(picture, iterations, watch)
        seen = {50 * number: canvas for number, canvas in enumerate(watch.canvases)}
        canvases = [seen[iteration] for iteration in at[:-1]] + [last]
        ours = [score(canvas[..., reach:-reach, reach:-reach], picture) for canvas in canvases]
        print(f"{name} at {at}: plain {rounded(plain)}, ours {rounded(ours)} dB", flush=True)
        means.append((statistics.mean(plain), statistics.mean(ours), plain[-1], ours[-1]))
    plain_mean, our_mean, plain_last, our_last = (statistics.mean(column) for column in zip(*means, strict=True))
    print(f"mean over pictures: plain {plain_last:.2f}, ours {our_last:.2f} dB at the end;")
    print(f"over the four points, too: plain {plain_mean:.2f}, ours {our_mean:.2f} dB")


class Watch(Progress):
    """Keeps the previews of the optimisation."""

    def __init__(self, on_step=lambda: None) -> None:
        super().__init__()
        self.on_step = on_step
        self.canvases: list[Tensor] = []

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        """Called after each iteration."""
        self.on_step()

    def on_preview(self, pictures: dict[str, Tensor]) -> None:
        """Called in the first and then in every fiftieth iteration."""
        self.canvases.append(pictures["image"])


def run_ours(picture: Sample, iterations: int, progress: Progress) -> Tensor:
    """Run the first iterations of the released configuration; the learning rates are halved much later."""
    plan = Plan(
        iterations=iterations,
        halve_at=tuple(10 * share for share in GREY_HALVINGS),
        learning_rate=0.01,
        psf_learning_rate=1e-4,
        ssim_from=1000,
        tv=torch.zeros(1),
        alternating=False,
        psf_network="dense",
        width=128,
        non_local=3,
        dtype=torch.bfloat16,
        seconds=None,
    )
    side = PICTURES[picture.name]
    return fit(picture.blurry, (side, side), plan, seed=0, progress=progress).canvas


def sample(data: Path, name: str) -> Sample:
    """One of Levin's pictures."""
    return next(sample for sample in get("levin").samples(data) if sample.name == name)


def score(image: Tensor, picture: Sample) -> float:
    """PSNR in dB by the protocol of the data set."""
    return get("levin").score(image, picture)["psnr"]


def rounded(values: list[float]) -> list[float]:
    """Values rounded to two digits."""
    return [round(value, 2) for value in values]


if __name__ == "__main__":
    typer.run(main)
