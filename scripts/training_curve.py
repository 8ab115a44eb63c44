"""Plot the loss and the validation PSNR of a training run from its log.

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


def main(log: Path, out: Annotated[Path, typer.Option("-o", help="Picture file to write.")]) -> None:
    """Plot all losses and the validation PSNR against the step."""
    curves: dict[str, list[tuple[int, float]]] = {}
    with log.open(newline="") as file:
        for row in csv.DictReader(file):
            curves.setdefault(row["name"], []).append((int(row["step"]), float(row["value"])))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), constrained_layout=True)
    for name, points in curves.items():
        if name != "per_second":
            axes = right if name == "psnr" else left
            axes.plot(*zip(*points, strict=True), marker="." if len(points) < 50 else None, label=name)
    left.set(xlabel="step", ylabel="loss")
    left.legend()
    right.set(xlabel="step", ylabel="validation PSNR in dB")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=100)


if __name__ == "__main__":
    typer.run(main)
