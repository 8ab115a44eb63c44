"""Restore the pictures of a data set one by one or in batches, on any device.

Each picture of a batch counts an equal share of the batch's time. If a batch fails, its pictures are restored one by
one.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import torch
from torch import Tensor

from unblur.benchmark.entries import NOISY, Photo
from unblur.contract import Input
from unblur.datasets.base import Sample
from unblur.imaging.psf import pad_psf
from unblur.pipeline.chain import Chain
from unblur.pipeline.device import CPU, moved
from unblur.types import Cancelled, Observation, Progress, Restoration, UnblurError


@dataclass(frozen=True)
class Attempt:
    """The result of one picture.

    Attributes:
        restoration: a batch of one picture on the CPU; its PSF has no margin from batching. None when the chain
            failed.
        seconds: the time in seconds, for a batch divided by its pictures; None when the chain failed.
        error: the error message; None when the chain did not fail.
    """

    restoration: Restoration | None = None
    seconds: float | None = None
    error: str | None = None


def batches(samples: Iterable[Sample], together: int) -> Iterator[list[Sample]]:
    """Batches of at most `together` consecutive samples; samples are read when they are needed."""
    for _, alike in groupby(samples, key=_kind):
        while batch := list(islice(alike, together)):
            yield batch


def _kind(sample: Sample) -> tuple[object, ...]:
    """A key that is equal for samples that can form one batch. Their PSFs may differ in size."""
    pictures = (sample.blurry, sample.noisy, sample.frames)
    layouts = tuple(None if picture is None else (picture.shape, picture.dtype) for picture in pictures)
    return layouts, sample.psf is None, sample.sigma, sample.exposure_ratio


def attempt(
    chain: Chain, samples: Sequence[Sample], device: torch.device, progress: Progress, photo: Photo = "blurry"
) -> list[Attempt]:
    """Restore the samples as a batch or, if that fails, one by one.

    Args:
        chain: the methods.
        samples: of one kind, as from `batches`.
        device: where the methods run.
        progress: may cancel.
        photo: the picture of each sample that is restored.

    Raises:
        Cancelled: after `progress.cancel()`.
    """
    attempts = _attempt(chain, samples, device, progress, photo)
    if len(samples) == 1 or attempts[0].error is None:
        return attempts
    return [_attempt(chain, [sample], device, progress, photo)[0] for sample in samples]


def _attempt(
    chain: Chain, samples: Sequence[Sample], device: torch.device, progress: Progress, photo: Photo
) -> list[Attempt]:
    """Restore the samples as a batch; after an error, every sample has this error and no restoration."""
    started = time.perf_counter()
    try:
        observation = _observation(samples, chain, photo).to(device)
        restoration = replace(chain(observation, _Inner(progress)), stages={})  # the stages are not used
        restoration = moved(restoration, CPU)  # waits until the device has finished
        seconds = (time.perf_counter() - started) / len(samples)
        return [Attempt(alone, seconds) for alone in _apart(restoration, samples, chain)]
    except Cancelled:
        raise
    except Exception as error:  # of any kind, so that the run goes on with the other methods
        return [Attempt(error=in_words(error))] * len(samples)


def in_words(error: Exception) -> str:
    """The message of an error for a row; an unexpected error also with its type."""
    return str(error) if isinstance(error, UnblurError) else f"{type(error).__name__}: {error}"


def _observation(samples: Sequence[Sample], chain: Chain, photo: Photo) -> Observation:
    """An observation with what the chain needs or takes. PSF and sigma of a sample are those of its blurry picture."""
    # The true PSFs only where the chain needs them, so that no blind method gets them.
    used = chain.needs | chain.takes

    def together(name: Input) -> Tensor | None:
        pictures = [getattr(sample, name) for sample in samples]
        return None if pictures[0] is None else torch.cat(pictures)  # (B, ...)

    if photo == "noisy":
        short = together("noisy")
        if short is None:
            raise UnblurError(f"'{samples[0].name}' has no noisy shot: leave out '{NOISY}'.")
        return Observation(blurry=short)
    psfs = [sample.psf for sample in samples if sample.psf is not None] if "psf" in chain.needs else []
    return Observation(
        blurry=together("blurry") if "blurry" in used else None,
        noisy=together("noisy") if "noisy" in used else None,
        frames=together("frames") if "frames" in used else None,
        psf=_stacked(psfs) if psfs else None,
        exposure_ratio=samples[0].exposure_ratio,
        sigma=samples[0].sigma,
    )


def _stacked(psfs: Sequence[Tensor]) -> Tensor:
    """PSFs `(1, 1, h, w)` of any sizes as one batch; the smaller ones are padded with zeros."""
    size = max(psf.shape[-2] for psf in psfs), max(psf.shape[-1] for psf in psfs)
    return torch.cat([psf if psf.shape[-2:] == size else pad_psf(psf[0, 0], size)[None, None] for psf in psfs])


def _apart(restoration: Restoration, samples: Sequence[Sample], chain: Chain) -> list[Restoration]:
    """Split the restoration of a batch into one per picture; each has all notes of the batch."""
    image, psf = restoration.image, restoration.psf
    for what, tensor in (("pictures", image), ("psfs", psf)):
        if tensor is not None and len(tensor) != len(samples):
            raise ValueError(f"for {len(samples)} pictures the method returned {len(tensor)} {what}")
    images = [None] * len(samples) if image is None else image.split(1)
    psfs: Sequence[Tensor | None] = [None] * len(samples)
    if psf is not None:  # where the true PSF was given, take it from the sample, without padding
        given = "psf" in chain.needs and "psf" not in chain.gives
        psfs = [sample.psf for sample in samples] if given else _without_margins(psf)
    return [
        replace(restoration, image=own_image, psf=own_psf, notes=list(restoration.notes))
        for own_image, own_psf in zip(images, psfs, strict=True)
    ]


def _without_margins(psfs: Tensor) -> list[Tensor]:
    """Split PSFs `(B, 1, h, w)` into single ones, and remove the zeros that pad smaller ones to the largest size."""
    margins = [_dark_margin(psf) for psf in psfs[:, 0]]
    least = [min(sides) for sides in zip(*margins, strict=True)]  # a margin that all PSFs have is no padding
    height, width = psfs.shape[-2:]
    cuts = [(rows - least[0], columns - least[1]) for rows, columns in margins]
    return [
        psf[..., rows : height - rows, columns : width - columns]
        for psf, (rows, columns) in zip(psfs.split(1), cuts, strict=True)
    ]


def _dark_margin(psf: Tensor) -> tuple[int, int]:
    """The numbers of zero rows at both the top and bottom, and of zero columns at both sides, of a PSF `(h, w)`."""
    margins = []
    for axis, side in ((1, psf.shape[0]), (0, psf.shape[1])):
        lit = (psf != 0).any(axis).nonzero().flatten().tolist() or [0]
        margins.append(min(lit[0], side - 1 - lit[-1]))
    return margins[0], margins[1]


class _Inner(Progress):
    """The progress of one method: it is cancelled together with the benchmark's, and shows nothing."""

    def __init__(self, outer: Progress) -> None:
        super().__init__()
        self._outer = outer

    def on_stage(self, name: str, total: int | None) -> None:
        self._outer.advance(0)  # raises Cancelled when the run was cancelled

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self._outer.advance(0)
