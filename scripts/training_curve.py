"""Loss and validation PSNR of a training run as a picture, from its log.

python scripts/training_curve.py RUN/log.csv -o docs/curve.png
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import typer


def main(log: Path, out: Annotated[Path, typer.Option("-o", help="The picture.")]) -> None:
    """Draw both against the step."""
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), constrained_layout=True)
    for axes, column, label in ((left, "loss", "loss"), (right, "psnr", "validation PSNR in dB")):
        points = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None)
        axes.set(xlabel="step", ylabel=label)
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    typer.run(main)
