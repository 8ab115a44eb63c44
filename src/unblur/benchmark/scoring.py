"""Compute the row of a restored picture, and the summary of the rows of a method.

The denominator of an error ratio is the error of the same non-blind step with the true PSF; the row names that step.
It is computed once per picture, and its time is not part of any method's time.

Where the protocol has gains, the blurry picture and, where it is known, the blurry picture without noise are scored as
if a method had returned them. Their rows are called `input` and `noise-free`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from unblur.benchmark.batching import Attempt, in_words
from unblur.benchmark.entries import UNRESTORED, Entry, Identity, identity
from unblur.datasets.base import Dataset, Sample
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import kernel_similarity
from unblur.pipeline.chain import Chain
from unblur.types import Restoration, UnblurError

Row = dict[str, Any]

GAINS = dict(zip(("gain", "gain_noise_free"), UNRESTORED, strict=True))
"""The picture over whose PSNR each gain is."""

_OTHER_FIGURES = ("seconds", "kernel_similarity")  # of a summary's columns, those that are no scores


def score_names(dataset: Dataset) -> tuple[str, ...]:
    """The names of the scores and gains in the rows of a data set."""
    return tuple(name for name in dataset.columns if name not in _OTHER_FIGURES and not name.startswith("worst_"))


class References:
    """The pictures of a batch, restored by non-blind steps with the true PSF. They are computed when they are needed.

    Args:
        samples: the batch.
        attempt: runs a chain on samples of the batch.
    """

    def __init__(self, samples: Sequence[Sample], attempt: Callable[[Chain, Sequence[Sample]], list[Attempt]]) -> None:
        self._samples = [sample for sample in samples if sample.sharp is not None and sample.psf is not None]
        self._attempt = attempt
        self._known: dict[tuple[Identity, str], Attempt] = {}

    def remember(self, entry: Entry, attempts: Iterable[tuple[Sample, Attempt]]) -> None:
        """Keep the results of a method that is its own reference, so that it does not run twice."""
        this = identity(entry.chain)
        if this == identity(entry.reference) and entry.photo == "blurry":
            self._known |= {(this, sample.name): made for sample, made in attempts}

    def picture(self, chain: Chain, sample: Sample) -> Tensor:
        """One sample of the batch, restored by `chain`.

        Raises:
            UnblurError: when the chain fails on this sample.
        """
        this = identity(chain)
        if (this, sample.name) not in self._known:
            missing = [other for other in self._samples if (this, other.name) not in self._known]
            names = [(this, other.name) for other in missing]
            self._known |= zip(names, self._attempt(chain, missing), strict=True)
        made = self._known[this, sample.name]
        if made.restoration is None:
            raise UnblurError(str(made.error))
        assert made.restoration.image is not None
        return made.restoration.image


def row(
    entry: Entry, dataset: Dataset, sample: Sample, attempt: Attempt, references: References, unrestored: Sequence[Row]
) -> Row:
    """The row of one picture restored by one method. After a failure it has an `error` and no figures.

    Args:
        entry: the method.
        dataset: the data set.
        sample: the picture.
        attempt: what the method made of it.
        references: where the denominators of error ratios come from.
        unrestored: the rows `input` and `noise-free` of this picture, as far as there are any.
    """
    line = _empty_row(entry.label, dataset, sample) | {
        "steps": [step.method.card.name for step in entry.chain.steps],
        "reference": entry.reference.name if _has_reference(dataset, sample) else None,
        "error": attempt.error,
    }
    if attempt.restoration is not None:
        line |= {"seconds": attempt.seconds, "notes": attempt.restoration.notes}
        try:
            line |= _about_psf(entry, sample, attempt.restoration)
            line |= _scores(entry, dataset, sample, attempt.restoration, references)
            line |= _gains(line, dataset, unrestored)
        except Exception as error:  # a method may return a picture that cannot be scored
            line["error"] = in_words(error)
    return {key: _finite(value) for key, value in line.items()}


def unrestored_rows(dataset: Dataset, sample: Sample) -> list[Row]:
    """The rows `input` and `noise-free` of one picture; none where the protocol has no gains, or no sharp picture."""
    pictures = dict(zip(UNRESTORED, (sample.blurry, sample.noise_free), strict=True))
    wanted = {picture: pictures[picture] for gain, picture in GAINS.items() if gain in dataset.columns}
    rows: list[Row] = []
    for label, picture in wanted.items():
        if picture is not None and sample.sharp is not None:
            rows.append(_empty_row(label, dataset, sample) | dataset.score(picture, sample))
    # Both rows are needed for the gains of either.
    gains = [_gains(line, dataset, rows) for line in rows]
    return [{key: _finite(value) for key, value in (line | own).items()} for line, own in zip(rows, gains, strict=True)]


def _empty_row(label: str, dataset: Dataset, sample: Sample) -> Row:
    """A row without figures."""
    return {
        "method": label,
        "image": sample.name,
        **dict.fromkeys((*score_names(dataset), "seconds")),
        "group": sample.group,
        "steps": [],
        "reference": None,
        "kernel_similarity": None,
        "psf_size": None,
        "sigma": float(estimate_noise_sigma(sample.blurry).mean()) if sample.sigma is None else sample.sigma,
        "notes": [],
        "error": None,
    }


def _gains(line: Row, dataset: Dataset, unrestored: Sequence[Row]) -> Row:
    """The PSNR of a row minus those of the pictures that were not restored; exactly 0 for the same picture."""
    over = {other["method"]: other["psnr"] for other in unrestored}
    return {
        gain: line["psnr"] - over[picture]
        for gain, picture in GAINS.items()
        if gain in dataset.columns and line["psnr"] is not None and over.get(picture) is not None
    }


def _has_reference(dataset: Dataset, sample: Sample) -> bool:
    """Whether the protocol has error ratios, and the true PSF is known."""
    return sample.psf is not None and any(name.startswith("error_ratio") for name in dataset.columns)


def _about_psf(entry: Entry, sample: Sample, restoration: Restoration) -> Row:
    """Size of the PSF that the picture was restored with and, if it was estimated, its similarity to the true one."""
    if restoration.psf is None:
        return {}
    about: Row = {"psf_size": list(restoration.psf.shape[-2:])}
    given = "psf" in entry.chain.needs and "psf" not in entry.chain.gives
    if not given and sample.psf is not None and entry.photo == "blurry":
        about["kernel_similarity"] = kernel_similarity(restoration.psf, sample.psf).item()
    return about


def _scores(
    entry: Entry, dataset: Dataset, sample: Sample, restoration: Restoration, references: References
) -> Mapping[str, float]:
    """The scores of the protocol; empty when there is no sharp picture."""
    assert restoration.image is not None
    if sample.sharp is None:
        return {}
    if not _has_reference(dataset, sample):
        return dataset.score(restoration.image, sample)
    return dataset.score(restoration.image, sample, reference=references.picture(entry.reference, sample))


def summaries(label: str, rows: Sequence[Row], dataset: Dataset) -> list[Row]:
    """The summary of one method: of each group of pictures in their order, then of all. Without groups, of all only."""
    groups = list(dict.fromkeys(row["group"] for row in rows if row["group"] is not None))
    if not groups:
        return [{"method": label, **_summary(rows, dataset)}]
    parts = [(group, [row for row in rows if row["group"] == group]) for group in groups]
    return [{"method": label, "group": group, **_summary(own, dataset)} for group, own in [*parts, ("all", rows)]]


def _summary(rows: Sequence[Row], dataset: Dataset) -> Row:
    """The means and minima of some rows' figures, and the number of pictures that the method failed on."""
    scored = [row for row in rows if row["error"] is None]
    figures = {}
    for name in dataset.columns:
        key = name.removeprefix("worst_")
        values = [row[key] for row in scored if row[key] is not None]
        figures[name] = min(values, default=None) if name != key else _mean(values)
    return {**figures, "count": len(scored), "failed": len(rows) - len(scored)}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> Any:
    """`value`, or None for an infinite PSNR or error ratio, which strict JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
