"""Methods x data set x protocol -> one table that says how its figures came about.

A non-blind method by itself is given the true psf; a psf estimator by itself is followed by the default
non-blind step. The denominator of an error ratio is what the same non-blind step makes of the true psf;
the row names it. It is computed once a picture and its time is nobody's.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Group
from rich.table import Table
from rich.text import Text
from torch import Tensor

from unblur import datasets, image_io
from unblur.contract import Settings, nearest
from unblur.datasets.base import Dataset, Sample
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import kernel_similarity
from unblur.pipeline.chain import DEFAULT_NON_BLIND, Chain, complete, setting_keys
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError

SCORES = ("psnr", "ssim", "error_ratio_ssd", "error_ratio_norm2")

Row = dict[str, Any]
_ERROR_RATIO = {"error_ratio": "over the row's `reference`, a non-blind step given the true psf"}
_Identity = tuple[tuple[str, Settings], ...]  # a chain's methods and settings, to be looked up by


@dataclass(frozen=True)
class _Contestant:
    """One method of the table.

    Attributes:
        label: what the person asked for; names its rows and its folder.
        chain: what runs.
        reference: the non-blind step that is given the true psf for the error ratios.
    """

    label: str
    chain: Chain
    reference: Chain


def run(
    dataset_name: str,
    data: Path,
    methods: Sequence[str],
    *,
    limit: int | None = None,
    out: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score methods on a data set.

    A method that fails on a picture gets a row with its `error` and no figures, and the run goes on.

    Args:
        dataset_name: one of `unblur.datasets.names()`.
        data: the folder that holds it.
        methods: names of methods or chains, see `unblur.pipeline.chain`.
        limit: score the first pictures only; None: all.
        out: a folder for the pictures, `METHOD/PICTURE.png` and, where a psf was estimated,
            `METHOD/PICTURE.psf.png`; None writes none.
        settings: `key` or `method.key`; each goes to every method of the run that has it.
        progress: advances once a method and picture.

    Returns:
        `dataset`, `protocol`, `versions`, `rows` (one a method and picture) and `summary` (one a method),
        ready for strict JSON: a figure that does not exist is None.

    Raises:
        UnblurError: no such data set, method or setting; `data` without the data; `out` with files in it.
    """
    if not methods or (limit is not None and limit < 1):
        raise UnblurError("nothing to score: name at least one method, and a limit of 1 or more.")
    settings, progress = settings or {}, progress or Progress()
    dataset = datasets.get(dataset_name)
    count = dataset.count(data) if limit is None else min(limit, dataset.count(data))
    contestants = _contestants(methods, settings)
    if out is not None:
        _prepare_folders(out, [contestant.label for contestant in contestants])
    rows: list[Row] = []
    progress.stage(f"scoring on {dataset_name}", count * len(contestants))
    for sample in dataset.samples(data, limit):
        references: dict[_Identity, Tensor] = {}  # every picture by a chain given the true psf
        for contestant in contestants:
            row = _row(contestant, dataset, sample, references, out, progress)
            rows.append({key: _finite(value) for key, value in row.items()})
            progress.advance()
    return {
        "dataset": dataset_name,
        "protocol": {**dataset.protocol, **_ERROR_RATIO, "limit": limit, "settings": dict(settings)},
        "versions": _versions(),
        "rows": rows,
        "summary": [_summary(c.label, [row for row in rows if row["method"] == c.label]) for c in contestants],
    }


def table(result: Mapping[str, Any]) -> Group:
    """The summary of `run`'s result, its protocol below; nothing is cut where a page has 80 columns."""
    lines = result["summary"]
    columns = _COLUMNS if any(line["failed"] for line in lines) else _COLUMNS[:-1]
    drawn = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    drawn.add_column("method", vertical="bottom", overflow="fold")
    for heading, _, _ in columns:
        drawn.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for line in lines:
        drawn.add_row(line["method"], *(_figure(line[key], digits) for _, key, digits in columns))
    return Group(drawn, Text("\n" + _caption(result), overflow="fold"))


_COLUMNS = (  # heading, key in the summary, digits
    ("PSNR", "psnr", 2),
    ("worst", "worst_psnr", 2),
    ("SSIM", "ssim", 4),
    ("ratio\nSSD", "error_ratio_ssd", 3),
    ("ratio\nnorm2", "error_ratio_norm2", 3),
    ("s", "seconds", 2),
    ("failed", "failed", 0),  # shown only where something failed
)


def _contestants(names: Sequence[str], settings: Mapping[str, Any]) -> list[_Contestant]:
    completed = {name: complete(name, psf_known=True) for name in names}  # imports the methods, too
    keys = {name: setting_keys(chain) for name, chain in completed.items()}
    everything = set().union(*keys.values())
    for key in settings:
        if key not in everything:
            raise UnblurError(f"none of {', '.join(names)} has a setting '{key}'.{nearest(key, everything)}")
    contestants = []
    for name, full_name in completed.items():
        own = {key: value for key, value in settings.items() if key in keys[name]}
        chain = Chain.parse(full_name, own)
        contestants.append(_Contestant(Chain.parse(name).name, chain, _reference(chain)))
    labels = [contestant.label for contestant in contestants]
    for label in labels:
        if labels.count(label) > 1:
            raise UnblurError(f"two methods of this run are called '{label}'. Rename one of the files.")
    return contestants


def _reference(chain: Chain) -> Chain:
    """The chain's last non-blind step alone, or the default one where the chain has none."""
    non_blind = [step for step in chain.steps if "psf" in step.method.card.needs]
    return Chain((non_blind[-1],)) if non_blind else Chain.parse(DEFAULT_NON_BLIND)


def _row(
    contestant: _Contestant,
    dataset: Dataset,
    sample: Sample,
    references: dict[_Identity, Tensor],
    out: Path | None,
    progress: Progress,
) -> Row:
    """Restore and score one picture by one method."""
    row: Row = {
        "method": contestant.label,
        "image": sample.name,
        **dict.fromkeys((*SCORES, "seconds")),
        "steps": [step.method.card.name for step in contestant.chain.steps],
        "reference": None if sample.psf is None else contestant.reference.name,
        "kernel_similarity": None,
        "psf_size": None,
        "sigma": float(estimate_noise_sigma(sample.blurry).mean()) if sample.sigma is None else sample.sigma,
        "notes": [],
        "error": None,
    }
    try:
        started = time.perf_counter()
        restoration = contestant.chain(_observation(sample, contestant.chain), _Inner(progress))
        row["seconds"] = time.perf_counter() - started
        row |= _about_psf(contestant.chain, sample, restoration) | {"notes": restoration.notes}
        row |= _scores(contestant, dataset, sample, restoration, references, _Inner(progress))
    except Cancelled:
        raise
    except Exception as error:  # a method may fail in any way; the others still get their figures
        row["error"] = str(error) if isinstance(error, UnblurError) else f"{type(error).__name__}: {error}"
        return row
    if out is not None:
        _write_pictures(out / contestant.label, sample.name, contestant.chain, restoration)
    return row


def _observation(sample: Sample, chain: Chain) -> Observation:
    """What a chain may see: the true psf only when it needs one."""
    psf = sample.psf if "psf" in chain.needs else None
    return Observation(blurry=sample.blurry, psf=psf, sigma=sample.sigma)


def _about_psf(chain: Chain, sample: Sample, restoration: Restoration) -> Row:
    """Size of the psf the picture was restored with, and its likeness to the truth if it was estimated."""
    if restoration.psf is None:
        return {}
    about: Row = {"psf_size": list(restoration.psf.shape[-2:])}
    if "psf" in chain.gives and sample.psf is not None:
        about["kernel_similarity"] = kernel_similarity(restoration.psf, sample.psf).item()
    return about


def _scores(
    contestant: _Contestant,
    dataset: Dataset,
    sample: Sample,
    restoration: Restoration,
    references: dict[_Identity, Tensor],
    progress: Progress,
) -> Mapping[str, float]:
    """The protocol's figures; none for a picture whose truth is not known."""
    assert restoration.image is not None
    if sample.sharp is None:
        return {}
    if sample.psf is None:
        return dataset.score(restoration.image, sample)
    reference = _identity(contestant.reference)
    if _identity(contestant.chain) == reference:
        references[reference] = restoration.image
    elif reference not in references:
        image = contestant.reference(_observation(sample, contestant.reference), progress).image
        assert image is not None
        references[reference] = image
    return dataset.score(restoration.image, sample, reference=references[reference])


def _identity(chain: Chain) -> _Identity:
    return tuple((step.method.card.name, step.settings) for step in chain.steps)


def _prepare_folders(out: Path, labels: Sequence[str]) -> None:
    """Make a folder for every method; refuse one that holds anything, for nothing is ever overwritten."""
    for label in labels:
        folder = out / label
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(folder.iterdir())
        except OSError as error:
            raise UnblurError(f"cannot write pictures to {folder}: {error.strerror}. Name another folder.") from None
        if occupied:
            raise UnblurError(f"{folder} holds files already. Name another folder with --out, or empty it.")


def _write_pictures(folder: Path, name: str, chain: Chain, restoration: Restoration) -> None:
    assert restoration.image is not None
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)  # a data set may name its pictures "people/01"
    pixels = restoration.image[0].movedim(0, -1).cpu().numpy().astype(np.float32)  # (H, W, C)
    image_io.write_photo(image_io.Photo(pixels), path)
    if "psf" in chain.gives and restoration.psf is not None:
        image_io.write_psf(restoration.psf[0, 0].cpu().numpy(), folder / f"{name}.psf.png")


def _summary(label: str, rows: Sequence[Row]) -> Row:
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
    """The mean of the figures there are."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def _finite(value: Any) -> Any:
    """`value` as strict JSON has it: null for an infinite PSNR or error ratio."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _versions() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "unblur": importlib.metadata.version("unblur"),
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }


def _caption(result: Mapping[str, Any]) -> str:
    """What the columns are, and everything that defines the figures."""
    protocol, versions = result["protocol"], result["versions"]
    counts = {line["count"] + line["failed"] for line in result["summary"]}
    count = max(counts, default=0)
    scored = f"{result['dataset']}, {count} picture{'s'[: count != 1]}: means, the worst PSNR, seconds a picture."
    said = "; ".join(f"{key}: {value}" for key, value in protocol.items() if value not in (None, {}))
    return f"{scored}\n{said}\nunblur {versions['unblur']}, torch {versions['torch']}, {versions['threads']} thread(s)"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


class _Inner(Progress):
    """Passes cancelling on to a method, but none of its stages to whoever draws the benchmark's."""

    def __init__(self, outer: Progress) -> None:
        super().__init__()
        self._outer = outer

    def on_stage(self, name: str, total: int | None) -> None:
        self._outer.advance(0)  # raises Cancelled when the run was cancelled

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._outer.advance(0)
