"""Samples by number, and batches of them.

Sample number i of a run depends only on the run's seed and on i. It does not depend on the process that makes it, on
the device, or on interruptions of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from unblur.contract import Trainable
from unblur.training.sources import Source

TRAINING, VALIDATION, LOSSES = 0, 1, 2  # purposes of seeds


def seed_of(purpose: int, seed: int, number: int) -> int:
    """A seed for a random generator, different for every purpose, seed and number."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose, number)).generate_state(1, np.uint64)[0])


class Samples(Dataset[dict[str, Tensor]]):
    """The samples of a source by number, from 0; there is no last one.

    It can be pickled: each process makes its own trainable.
    """

    def __init__(
        self, source: Source, part: Literal["training", "validation"], make: Callable[[], Trainable], seed: int
    ) -> None:
        """Samples of a `part` of the source; `make` returns a trainable and can be pickled."""
        self._source, self._part, self._make, self._seed = source, part, make, seed
        self._trainable: Trainable | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainable": None}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Sample number `index`. For training the entry is random; for validation the entries are used in turn."""
        if self._trainable is None:
            with torch.random.fork_rng(devices=[]):  # initialising its networks would use random numbers
                self._trainable = self._make()
        purpose = TRAINING if self._part == "training" else VALIDATION
        generator = torch.Generator().manual_seed(seed_of(purpose, self._seed, index))
        entries = getattr(self._source, self._part)
        if self._part == "training":
            entry = entries[int(torch.randint(len(entries), (), generator=generator))]
        else:
            entry = entries[index % len(entries)]
        return self._source.observed(entry, self._trainable, generator)


def training_batches(
    samples: Samples, *, batch: int, steps: range, rank: int, ranks: int, workers: int
) -> Iterator[dict[str, Tensor]]:
    """This rank's part of the batches of `steps`.

    The batch of step t consists of the samples from t * batch to (t + 1) * batch - 1. It is divided among the ranks in
    this order, in equal parts.
    """
    own = batch // ranks
    indices = [[step * batch + rank * own + i for i in range(own)] for step in steps]
    yield from DataLoader(samples, batch_sampler=indices, num_workers=workers, prefetch_factor=4 if workers else None)


def validation_batch(source: Source, make: Callable[[], Trainable], count: int) -> dict[str, Tensor]:
    """`count` samples of the validation part of a source, the same in every run."""
    samples = Samples(source, "validation", make, 0)
    return default_collate([samples[index] for index in range(count)])
