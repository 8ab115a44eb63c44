"""One photo of a folder as a task for a worker, in this machine or another: what it is given, and what it gives back.

The worker writes the result to a place for unfinished files. Only the process that hands out the tasks gives results
their places and writes the manifest.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unblur.imaging.psf import describe_psf
from unblur.layers.precision import agree_on
from unblur.pipeline import trouble
from unblur.pipeline.folders.manifest import Record, stamp
from unblur.pipeline.options import Options
from unblur.pipeline.restore import FileResult, restore_file
from unblur.types import Observation

PREVIEW = 640  # px, longest side of the pictures in the report; as large as half a screen
QUALITY = 80  # of these JPEGs; chosen by hand


@dataclass(frozen=True)
class Job:
    """What is the same for all photos of a run.

    Attributes:
        options: what to do.
        psf: the PSF, if it is known, `(h, w)`.
        sigma: the noise, if it is known, on the [0, 1] scale.
        keep: files that are never replaced: that of the PSF, of weights, of a method.
        threads: number of torch's threads for a photo. The last bits of what a network computes depend on it.
        digest: what was asked for, as it stands in the manifest.
        bfloat16: whether networks compute in bfloat16 on a CPU where the setting `precision` is "auto"; None: as each
            process measures.
    """

    options: Options
    psf: np.ndarray | None = None
    sigma: float | None = None
    keep: tuple[Path, ...] = ()
    threads: int = 1
    digest: Mapping[str, Any] = field(default_factory=dict)
    bfloat16: bool | None = None

    def observation(self) -> Observation:
        """What is known besides the photo."""
        psf = None if self.psf is None else torch.from_numpy(self.psf)[None, None]
        return Observation(psf=psf, sigma=self.sigma)


@dataclass(frozen=True)
class Task:
    """One photo to be restored.

    Attributes:
        photo: the photo.
        name: path of the result in the output folder.
        finished: where the worker writes the result; a folder of this task's own, with the name of the result.
        job: what to do.
        previews: whether to make the pictures of the report.
        memory: bytes that it is expected to need.
    """

    photo: Path
    name: str
    finished: Path
    job: Job
    previews: bool = False
    memory: int = 0

    def anew(self) -> Task:
        """The same task, for a second try, with a new place for its result."""
        folder = self.finished.parent
        return replace(self, finished=folder.with_name(f"{folder.name}-again") / self.finished.name)

    def failed(self, error: str) -> Outcome:
        """The outcome when there is no result."""
        return Outcome(self.noted(error=error))

    def noted(self, **values: Any) -> Record:
        """A record of this task with these values."""
        own: dict[str, Any] = {
            "input": str(self.photo),
            "path": str(self.photo.absolute()),
            "output": self.name,
            "options": dict(self.job.digest),
            "version": _versions(),
        }
        return Record(**(values | own))


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        record: the line for the manifest.
        previews: small JPEGs of the photo and of the result; empty after an error, and if none were wanted.
        short_of_memory: whether it failed for lack of memory, so that it may succeed alone.
        memory: largest memory of the process in bytes, if it was reached with this photo; else 0.
    """

    record: Record
    previews: tuple[bytes, ...] = ()
    short_of_memory: bool = False
    memory: int = 0


def describe_job(options: Options, files: Mapping[str, Path], **known: Any) -> dict[str, Any]:
    """What was asked for, such that equal requests give equal results and are equal dictionaries of JSON.

    Args:
        options: what to do.
        files: the files that were named, by what they are; their checksums are taken.
        known: plain values: the noise, the threads.
    """
    return {
        "method": options.method,
        "psf_size": options.psf_size,
        "settings": {key: str(value) for key, value in sorted(options.settings.items())},
        "strength": options.strength,
        "force": options.force,
        "device": str(options.device or "cpu"),
        **known,
        "files": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())},
    }


def _versions() -> str:
    from importlib.metadata import version

    return f"unblur {version('unblur')}, torch {torch.__version__}"


def do(task: Task) -> Outcome:
    """Restore the photo of a task with this process. Never raises an `Exception`: an error is an outcome, too."""
    torch.set_num_threads(task.job.threads)
    agree_on(task.job.bfloat16)
    started, before = perf_counter(), _peak_memory()
    previews: list[bytes] = []
    pixels: list[int] = []

    def preview(photo: np.ndarray, restored: Tensor) -> None:
        pixels.append(photo.shape[0] * photo.shape[1])
        if task.previews:
            previews.extend([_jpeg(photo), _jpeg(restored[0].permute(1, 2, 0).numpy())])

    short_of_memory = False
    read = stamp(task.photo)
    try:
        task.finished.parent.mkdir(parents=True)
        job = task.job
        result = restore_file(
            task.photo, task.finished, job.options, known=job.observation(), keep=job.keep, preview=preview
        )
        record = _record(task, result)
        if stamp(task.photo) != read:
            record = task.failed(f"{task.photo}: it was changed while it was read. Restore it again.").record
    except Exception as error:
        said = trouble.said_of(task.photo, error).replace(str(task.finished), task.name)
        short_of_memory = trouble.is_out_of_memory(error) or isinstance(error.__cause__, MemoryError)
        record = task.failed(said).record
    peak = _peak_memory()
    record = replace(
        record,
        seconds=round(perf_counter() - started, 3),
        pixels=pixels[0] if pixels else None,
        memory_mb=round(peak / 1e6) or None,
        input_bytes=read[0],
        input_mtime_ns=read[1],
    )
    return Outcome(record, tuple(previews), short_of_memory, peak if peak > before else 0)


def _record(task: Task, result: FileResult) -> Record:
    output_bytes, output_mtime_ns = stamp(task.finished)
    return task.noted(
        **result.as_json(),
        psf=None if result.psf is None else describe_psf(result.psf).words,
        bfloat16=task.job.bfloat16,
        output_bytes=output_bytes,
        output_mtime_ns=output_mtime_ns,
    )


def _jpeg(pixels: np.ndarray) -> bytes:
    """A small JPEG of a picture `(H, W, C)`."""
    step = max(1, max(pixels.shape[:2]) // (2 * PREVIEW))  # a large photo is thinned out before it is copied
    levels = np.floor(np.clip(pixels[::step, ::step], 0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    image.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def _peak_memory() -> int:
    """The largest memory of this process so far in bytes; 0 if the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
