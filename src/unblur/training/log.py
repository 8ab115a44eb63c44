"""The log of a run: `log.csv`, TensorBoard's events, and a picture after each validation."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

LOG = "log.csv"
_COLUMNS: tuple[str, ...] = ("step", "name", "value")
_EVERY = 20  # steps between two entries
_SHOWN = 6  # observations in a picture


class RunLog:
    """Writes the log to a run's folder; with `folder=None` it writes nothing.

    `log.csv` has one line for each figure: `step,name,value`. TensorBoard gets the same figures.

    Attributes:
        unwritten: the losses by name since the last entry.
    """

    def __init__(self, folder: Path | None, step: int, unwritten: Mapping[str, list[float]]) -> None:
        """Continue a log after `step` steps, with the losses `unwritten` then. Lines of later steps are removed."""
        self._folder, self.unwritten = folder, {**unwritten}
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter  # takes a second to import

        (folder / "pictures").mkdir(parents=True, exist_ok=True)
        self._path = folder / LOG
        rows = [row for row in _rows(self._path) if (row["step"] or "").isdigit() and int(row["step"]) <= step]
        partial = self._path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        partial.replace(self._path)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def losses(self, step: int, losses: Mapping[str, float], per_second: float, *, last: bool) -> None:
        """Add the losses of a step. Their means are written every twenty steps and after the last step."""
        if self._folder is None:
            return
        for name, loss in losses.items():
            self.unwritten.setdefault(name, []).append(loss)
        if step % _EVERY == 0 or last:
            means = {name: sum(losses) / len(losses) for name, losses in self.unwritten.items()}
            self._write(step, {**means, "per_second": per_second})
            self.unwritten = {}

    def validation(self, step: int, psnr: float, blurry: Tensor, restored: Tensor, sharp: Tensor) -> None:
        """Write a validation's PSNR in dB and its first pictures: blurry, restored and sharp, one below the other."""
        if self._folder is None:
            return
        self._write(step, {"psnr": psnr})
        rows = [torch.cat(tuple(pictures[:_SHOWN].cpu()), -1) for pictures in (blurry, restored, sharp)]  # (C, H, nW)
        levels = (torch.cat(rows, -2).clamp(0, 1) * 255).round().byte()  # (C, 3H, nW)
        pixels = np.asarray(levels.expand(3, -1, -1).permute(1, 2, 0))
        Image.fromarray(pixels).save(self._folder / "pictures" / f"{step:07d}.png")
        self._board.add_image("validation", pixels, step, dataformats="HWC")

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._folder is not None:
            self._board.close()

    def _write(self, step: int, figures: Mapping[str, float]) -> None:
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows((step, name, f"{figure:.6g}") for name, figure in figures.items())
        for name, figure in figures.items():
            self._board.add_scalar(name, figure, step)


def is_begun(folder: Path) -> bool:
    """Whether this folder has a log with at least one figure."""
    return bool(_rows(folder / LOG))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if set(row) == set(_COLUMNS)]  # a line may be cut short
