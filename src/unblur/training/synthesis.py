"""Fill a folder with samples, in several processes."""

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
    """Item i writes sample number i of a source to its folder, and returns i."""

    def __init__(self, folder: Path, source: Source, make: Callable[[], Trainable], seed: int) -> None:
        """Write to `folder`; for the other arguments see `Samples`."""
        self.folder = folder
        self._training = Samples(source, "training", make, seed)
        self._validation = Samples(source, "validation", make, seed)

    def __getitem__(self, number: int) -> int:
        """Write sample `number`; those for validation are made from the validation part of the source."""
        held_out = is_for_validation(number)
        sample = self._validation[number // HELD_OUT] if held_out else self._training[number]
        write_sample(self.folder / sample_name(number), sample)
        return number


def write_missing(writer: SampleWriter, count: int, workers: int, progress: Progress) -> None:
    """Write the missing samples of the first `count`.

    Raises:
        Cancelled: after `progress.cancel()`; all samples written until then are complete.
    """
    for partial in writer.folder.glob(".*.partial"):
        shutil.rmtree(partial)
    missing = [number for number in range(count) if not (writer.folder / sample_name(number)).exists()]
    progress.stage("writing samples", count)
    progress.advance(count - len(missing))
    for _ in DataLoader(writer, batch_size=None, sampler=missing, num_workers=workers):
        progress.advance()
