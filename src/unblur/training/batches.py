"""Samples by number, and batches of them.

Sample number i of a run depends on the run's seed and i, and on nothing else. So it does not matter which process makes
it, on which device it is used, or whether the run was interrupted.
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

TRAINING, VALIDATION, LOSSES = 0, 1, 2  # what a seed is for


def seed_of(purpose: int, seed: int, number: int) -> int:
    """A seed for a random generator, unlike that of any other purpose, seed or number."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose, number)).generate_state(1, np.uint64)[0])


class Samples(Dataset[dict[str, Tensor]]):
    """Sample number i of a source, for any i from 0.

    It can be pickled, whatever the trainable holds: each process makes a trainable of its own.
    """

    def __init__(
        self, source: Source, part: Literal["training", "validation"], make: Callable[[], Trainable], seed: int
    ) -> None:
        """Of a `part` of the source; `make`, which can be pickled, gives a trainable that observes."""
        self._source, self._part, self._make, self._seed = source, part, make, seed
        self._trainable: Trainable | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_trainable": None}

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Of an entry drawn at random for training; for validation, of one after the other."""
        if self._trainable is None:
            with torch.random.fork_rng(devices=[]):  # its networks, which are not used, draw their weights
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
    """The batches of `steps`, of which each rank gets its own part.

    Step t is samples t * batch to (t + 1) * batch; with R ranks, the first R-th of them is rank 0's, and so on.
    """
    own = batch // ranks
    indices = [[step * batch + rank * own + i for i in range(own)] for step in steps]
    yield from DataLoader(samples, batch_sampler=indices, num_workers=workers, prefetch_factor=4 if workers else None)


def validation_batch(source: Source, make: Callable[[], Trainable], count: int) -> dict[str, Tensor]:
    """`count` observations of a source's part for validation, the same in every run."""
    samples = Samples(source, "validation", make, 0)
    return default_collate([samples[index] for index in range(count)])
