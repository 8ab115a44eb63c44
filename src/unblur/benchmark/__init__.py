"""Score methods on a data set by its protocol; the result is a table that states how its figures were computed.

A non-blind method that is named alone gets the true PSF. A PSF estimator that is named alone is followed by a quick
non-blind method.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unblur import datasets
from unblur.benchmark.batching import Attempt, attempt, batches
from unblur.benchmark.entries import Entry, make_entries, split_names
from unblur.benchmark.pictures import folder_of, prepare_folders, write_pictures
from unblur.benchmark.scoring import References, Row, row, summaries, unrestored_rows
from unblur.benchmark.summary_table import table
from unblur.datasets.base import Dataset, Sample
from unblur.pipeline.chain import Chain
from unblur.pipeline.device import find_device
from unblur.types import Progress, UnblurError

__all__ = ["run", "split_names", "table"]

_ERROR_RATIO = {"error_ratio": "over the row's `reference`, a non-blind step given the true psf"}


def run(
    dataset_name: str,
    data: Path,
    methods: Sequence[str],
    *,
    limit: int | None = None,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    together: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score methods on a data set.

    A method that fails on a picture gets a row with its `error` and no figures, and the run goes on.

    Args:
        dataset_name: one of `unblur.datasets.names()`.
        data: the folder of the data set.
        methods: names of methods or chains, see `unblur.pipeline.chain`; a step may have settings of its own,
            `a[key=value]+b`, which replace those in `settings`. `noisy:a` restores the noisy shot of each pair.
        limit: number of pictures to score, from the first; None: all.
        out: a folder for the pictures, `METHOD/PICTURE.png` and, where a PSF was estimated,
            `METHOD/PICTURE.psf.png`; None writes no pictures.
        settings: values by `key` or `method.key`; each is given to every method of the run that has this setting.
        options: options of the data set, see `Dataset.options`: `seed`, `noise`.
        device: where the methods run: "cpu", "cuda", "cuda:1", ... Scores are computed on the CPU.
        together: number of consecutive pictures of one size that are restored as one batch. A higher value uses an
            accelerator better and takes more memory; `seconds` is then the batch's time divided by its pictures.
        progress: advances once per method and picture.

    Returns:
        `dataset`, `protocol`, `versions`, `rows` (one per method and picture) and `summary` (one per method, or one per
        method and group of pictures), ready for strict JSON: a figure that does not exist is None. Where the protocol
        has gains, `input` and `noise-free` stand among the methods, see `unblur.benchmark.scoring`.

    Raises:
        UnblurError: when there is no such data set, option, method, setting or device, the data set is not in `data`,
            or `out` holds files of such a method.
    """
    if not methods or (limit is not None and limit < 1):
        raise UnblurError("nothing to score: name at least one method, and give a limit of 1 or more.")
    if together < 1:
        raise UnblurError(f"the number of pictures restored together must be 1 or more, not {together}.")
    settings, progress = settings or {}, progress or Progress()
    place = find_device(device)
    dataset = datasets.configured(datasets.get(dataset_name), options or {})
    count = dataset.count(data) if limit is None else min(limit, dataset.count(data))
    entries = make_entries(methods, settings)
    if out is not None:
        prepare_folders(out, [entry.label for entry in entries])
    torch.zeros((), device=place)  # initialises the device, so that this time is not part of the first picture's
    work = _Run(entries, dataset, place, out, progress)
    progress.stage(f"scoring on {dataset_name}", count * len(entries))
    rows = [line for batch in batches(dataset.samples(data, limit), together) for line in work.rows(batch)]
    return {
        "dataset": dataset_name,
        "protocol": {
            **dataset.protocol,
            **dataset.options,
            **(_ERROR_RATIO if "error_ratio_ssd" in dataset.columns else {}),
            "limit": limit,
            "together": together,
            "settings": dict(settings),
        },
        "versions": _versions(place),
        "rows": rows,
        "summary": [line for label, own in _by_method(rows).items() for line in summaries(label, own, dataset)],
    }


@dataclass(frozen=True)
class _Run:
    """What is the same for all batches of a run; for the attributes see `run`."""

    entries: Sequence[Entry]
    dataset: Dataset
    device: torch.device
    out: Path | None
    progress: Progress

    def rows(self, batch: Sequence[Sample]) -> list[Row]:
        """Restore a batch by every method and score it: the rows of the first picture, then of the next one."""
        references = References(batch, self._attempt)
        unrestored = [unrestored_rows(self.dataset, sample) for sample in batch]
        columns = [self._column(entry, batch, references, unrestored) for entry in self.entries]
        return [line for own, *picture in zip(unrestored, *columns, strict=True) for line in [*own, *picture]]

    def _column(
        self, entry: Entry, batch: Sequence[Sample], references: References, unrestored: Sequence[Sequence[Row]]
    ) -> list[Row]:
        """The rows of one method, one per picture of the batch."""
        made = attempt(entry.chain, batch, self.device, self.progress, entry.photo)
        attempts = list(zip(batch, made, strict=True))
        references.remember(entry, attempts)
        lines = []
        for (sample, own), before in zip(attempts, unrestored, strict=True):
            line = row(entry, self.dataset, sample, own, references, before)
            if self.out is not None and own.restoration is not None and line["error"] is None:
                write_pictures(folder_of(self.out, entry.label), sample.name, entry.chain, own.restoration)
            lines.append(line)
            self.progress.advance()
        return lines

    def _attempt(self, chain: Chain, samples: Sequence[Sample]) -> list[Attempt]:
        return attempt(chain, samples, self.device, self.progress)


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each method, in the order of the first picture's rows."""
    methods: dict[str, list[Row]] = {}
    for line in rows:
        methods.setdefault(line["method"], []).append(line)
    return methods


def _versions(device: torch.device) -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "unblur": importlib.metadata.version("unblur"),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "device": str(device),
    }
