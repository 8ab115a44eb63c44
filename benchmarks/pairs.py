"""Measure what `unblur restore` does to blurred pictures whose sharp picture is known, such as scenes that move.

    python benchmarks/pairs.py DIR [--method auto] [--force]

DIR holds blurry pictures `NAME.png`, each with its sharp picture `NAME_gt.png`. Prints for each the PSNR before and
after, whether it was changed and, if not, why; and the mean and the lowest gain. The PSNR is computed on the whole RGB
picture in 8 bits, without alignment, so a shift of the restored picture lowers it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from kodak import read
from rich.console import Console
from rich.table import Table

from unblur.imaging.noise import quantise
from unblur.metrics import psnr
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress


def main(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of NAME.png and NAME_gt.png.")],
    method: Annotated[str, typer.Option(help="A method or a chain.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Keep results that are not credible.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one row per pair, the mean gain and the lowest gain."""
    torch.set_num_threads(threads)
    truths = sorted(folder.glob("*_gt.png"))
    if not truths:
        raise typer.BadParameter(f"no NAME_gt.png in {folder}")
    table = Table("picture", "before", "after", "gain dB", "changed", "why not")
    gains = []
    for truth in truths:
        name = truth.stem.removesuffix("_gt")
        blurry, sharp = read(folder / f"{name}.png"), read(truth)
        outcome = restore_picture(Observation(blurry=blurry), Options(method, force=force), Progress())
        before, after = (float(psnr(quantise(image, clip=True), sharp)) for image in (blurry, outcome.image))
        gains.append(after - before)
        why_not = "" if outcome.changed else " ".join(outcome.notes)
        row = (f"{before:.2f}", f"{after:.2f}", f"{gains[-1]:+.2f}", "yes" if outcome.changed else "no", why_not)
        table.add_row(name, *row)
        Console(stderr=True).print(name, *row, highlight=False)
    Console().print(table)
    print(f"{len(gains)} pairs: mean gain {sum(gains) / len(gains):+.2f} dB, lowest {min(gains):+.2f} dB")


if __name__ == "__main__":
    typer.run(main)
