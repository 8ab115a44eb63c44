"""Filling a folder with samples, in as many processes as there are workers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from unblur.contract import Trainable
from unblur.training.batches import Samples
from unblur.training.sample_files import HELD_OUT, is_for_validation, sample_name, write_sample
from unblur.training.sources import Source
from unblur.types import Progress


class SampleWriter(Dataset[int]):
    """Writes sample number i of a source when item i is asked for."""

    def __init__(self, folder: Path, source: Source, make: Callable[[], Trainable], seed: int) -> None:
        """`folder` is where to; for the others see `Samples`."""
        self.folder = folder
        self._training = Samples(source, "training", make, seed)
        self._validation = Samples(source, "validation", make, seed)

    def __getitem__(self, number: int) -> int:
        """Samples for validation are made of what the source holds out."""
        held_out = is_for_validation(number)
        sample = self._validation[number // HELD_OUT] if held_out else self._training[number]
        write_sample(self.folder / sample_name(number), sample)
        return number


def write_missing(writer: SampleWriter, count: int, workers: int, progress: Progress) -> None:
    """Write those of `count` samples that are not there yet.

    Raises:
        Cancelled: after `progress.cancel()`; what is written by then is whole.
    """
    for partial in writer.folder.glob(".*.partial"):
        shutil.rmtree(partial)
    missing = [number for number in range(count) if not (writer.folder / sample_name(number)).exists()]
    progress.stage("writing samples", count)
    progress.advance(count - len(missing))
    for _ in DataLoader(writer, batch_size=None, sampler=missing, num_workers=workers):
        progress.advance()
