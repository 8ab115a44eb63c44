"""Compute the row of a restored picture, and the summary of the rows of a method.

The denominator of an error ratio is the error of the same non-blind step with the true PSF; the row names that step.
It is computed once per picture, and its time is not part of any method's time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from unblur.benchmark.batching import Attempt, in_words
from unblur.benchmark.entries import Entry, Identity, identity
from unblur.datasets.base import Dataset, Sample
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import kernel_similarity
from unblur.pipeline.chain import Chain
from unblur.types import Restoration, UnblurError

SCORES = ("psnr", "ssim", "error_ratio_ssd", "error_ratio_norm2")

Row = dict[str, Any]


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
        if this == identity(entry.reference):
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


def row(entry: Entry, dataset: Dataset, sample: Sample, attempt: Attempt, references: References) -> Row:
    """The row of one picture restored by one method. After a failure it has an `error` and no figures."""
    line: Row = {
        "method": entry.label,
        "image": sample.name,
        **dict.fromkeys((*SCORES, "seconds")),
        "steps": [step.method.card.name for step in entry.chain.steps],
        "reference": None if sample.psf is None else entry.reference.name,
        "kernel_similarity": None,
        "psf_size": None,
        "sigma": float(estimate_noise_sigma(sample.blurry).mean()) if sample.sigma is None else sample.sigma,
        "notes": [],
        "error": attempt.error,
    }
    if attempt.restoration is not None:
        line |= {"seconds": attempt.seconds, "notes": attempt.restoration.notes}
        try:
            line |= _about_psf(entry.chain, sample, attempt.restoration)
            line |= _scores(entry, dataset, sample, attempt.restoration, references)
        except Exception as error:  # a method may return a picture that cannot be scored
            line["error"] = in_words(error)
    return {key: _finite(value) for key, value in line.items()}


def _about_psf(chain: Chain, sample: Sample, restoration: Restoration) -> Row:
    """Size of the PSF that the picture was restored with and, if it was estimated, its similarity to the true one."""
    if restoration.psf is None:
        return {}
    about: Row = {"psf_size": list(restoration.psf.shape[-2:])}
    if "psf" in chain.gives and sample.psf is not None:
        about["kernel_similarity"] = kernel_similarity(restoration.psf, sample.psf).item()
    return about


def _scores(
    entry: Entry, dataset: Dataset, sample: Sample, restoration: Restoration, references: References
) -> Mapping[str, float]:
    """The scores of the protocol; empty when there is no sharp picture."""
    assert restoration.image is not None
    if sample.sharp is None:
        return {}
    if sample.psf is None:
        return dataset.score(restoration.image, sample)
    return dataset.score(restoration.image, sample, reference=references.picture(entry.reference, sample))


def summary(label: str, rows: Sequence[Row]) -> Row:
    """The means of one method's rows, its lowest PSNR, and the number of pictures it failed on."""
    scored = [row for row in rows if row["error"] is None]
    worst = [row["psnr"] for row in scored if row["psnr"] is not None]
    return {
        "method": label,
        **{key: _mean(row[key] for row in scored) for key in SCORES},
        "worst_psnr": min(worst, default=None),
        "seconds": _mean(row["seconds"] for row in scored),
        "count": len(scored),
        "failed": len(rows) - len(scored),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are not None."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _finite(value: Any) -> Any:
    """`value`, or None for an infinite PSNR or error ratio, which strict JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
