"""Restore the photos of folders: which are done already, in which order things are written, and the pictures kept."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from unblur.image_io import ImageFileError
from unblur.image_io.read import check_readable
from unblur.image_io.size import picture_size
from unblur.image_io.write import FORMATS, check_place, move_in_place
from unblur.layers.precision import restores_in_bfloat16
from unblur.pipeline.folders.manifest import (
    MANIFEST,
    PRIVATE,
    History,
    Manifest,
    Record,
    read_histories,
    read_records,
    stamp,
)
from unblur.pipeline.folders.memory import MemoryModel
from unblur.pipeline.folders.processes import Executor
from unblur.pipeline.folders.scan import Found
from unblur.pipeline.folders.task import Job, Outcome, Task
from unblur.types import UnblurError

MOST_PREVIEWS = 500
"""Number of photos of which the report shows pictures; chosen by hand: a report of 500 has about 50 MB."""


@dataclass(frozen=True)
class Entry:
    """A photo of a run, and what is to be done with it.

    Attributes:
        found: the photo and the name of its result.
        state: "new"; "done" if its result is there, and photo and options are those of the manifest; "again" if it
            failed, or photo or options have changed, or the result is gone. A result that somebody has changed since
            is left as it is.
        why: why it is done again, in a few words; "" otherwise.
        replaces: whether the file at the place of the result is the result of an earlier run, or may be replaced.
    """

    found: Found
    state: Literal["new", "done", "again"]
    why: str = ""
    replaces: bool = False


def check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a run may write into the output folder. Nothing is written.

    Raises:
        UnblurError: it holds the results of an earlier run, and neither `resume` nor `overwrite` is set, or it is a
            file, or has the name of one.
    """
    if not out.exists() and out.suffix.lower() in FORMATS:
        raise UnblurError(f"{out}: this is the name of a picture. Name a folder for the results with -o.")
    if out.exists() and not out.is_dir():
        raise UnblurError(f"{out}: this is a file. Name a folder for the results with -o.")
    if (out / MANIFEST).exists() and not (resume or overwrite):
        raise UnblurError(
            f"{out}: it holds the results of an earlier run. Continue it with --resume, start again with --overwrite, "
            "or name another folder with -o."
        )


def plan(
    photos: Sequence[Found], out: Path, digest: dict[str, Any], *, resume: bool, overwrite: bool = False
) -> list[Entry]:
    """What is to be done with each photo. Nothing is written.

    Args:
        photos: the photos.
        out: the output folder.
        digest: what is asked for, as `task.describe_job` says it.
        resume: whether the results of earlier runs count.
        overwrite: whether any file at the place of a result may be replaced.
    """
    histories = read_histories(out) if resume else {}
    return [_entry(found, out, digest, histories.get(found.name), overwrite) for found in photos]


def _entry(found: Found, out: Path, digest: dict[str, Any], history: History | None, overwrite: bool) -> Entry:
    if history is None:
        return Entry(found, "new", replaces=overwrite)
    record, result = history.last, stamp(out / found.name)
    last_result = (record.output_bytes, record.output_mtime_ns)
    if record.error is not None:
        why = "it failed"
    elif stamp(found.photo) != (record.input_bytes, record.input_mtime_ns):
        why = "the photo has changed"
    elif record.options != digest:
        why = f"other options: {', '.join(sorted(key for key in digest if record.options.get(key) != digest[key]))}"
    elif result == (None, None):
        why = "the result is gone"
    elif result != last_result and result in history.results:
        why = "the result is an earlier one"  # the run was ended just before the new one got its place
    else:
        return Entry(found, "done")
    own = result in history.results and not _is_another(found.photo, history.results[result])
    return Entry(found, "again", why, replaces=overwrite or own)


def _is_another(photo: Path, recorded: str) -> bool:
    """Whether a result is not of this photo: the recorded one is still somewhere else. Not if none is recorded."""
    if not recorded:
        return False
    try:
        return not Path(recorded).samefile(photo)
    except OSError:  # the recorded one is no longer there: the folder was moved
        return False


def restore_folder(
    entries: Sequence[Entry],
    manifest: Manifest,
    job: Job,
    executor: Executor,
    on_start: Callable[[int], None] = lambda count: None,
) -> Iterator[Record]:
    """Restore the photos that are not done, and give back the record of each as soon as its result has its place.

    An error with one photo is in its record. The order of the records is that in which the photos are finished.

    Args:
        entries: what is to be done, from `plan`.
        manifest: where the records are written.
        job: what to do.
        executor: where the work is done.
        on_start: called with the number of photos to be restored.

    Raises:
        UnblurError: when the manifest cannot be written.
    """
    todo = [entry for entry in entries if entry.state != "done"]
    on_start(len(todo))
    if todo:
        job = replace(job, bfloat16=_in_bfloat16(manifest.out, job.threads))
    run = _Run(manifest, job, {entry.found.name: entry for entry in todo}, len(entries) - len(todo))
    for task, outcome in executor.run(run.tasks()):
        yield run.finish(task, outcome)
        yield from run.refused()
    yield from run.refused()


def _in_bfloat16(out: Path, threads: int) -> bool:
    """Whether networks compute in bfloat16: as in the records that are there, or else as measured here.

    A measurement in each process, or in each run, might give different answers, and so different bytes.
    """
    recorded = (record.bfloat16 for record in read_records(out) if record.bfloat16 is not None)
    first = next(recorded, None)
    if first is not None:
        return first
    before = torch.get_num_threads()
    torch.set_num_threads(threads)  # as in the processes that restore
    try:
        return restores_in_bfloat16()
    finally:
        torch.set_num_threads(before)


def refuse_links(place: Path, out: Path) -> None:
    """Check that no link lies between the output folder and the place of a result; it may lead to the photos.

    Raises:
        ImageFileError: when `place`, or a folder between it and `out`, is a link.
    """
    for folder in (place, *place.parents):
        if folder == out:
            return
        if folder.is_symlink():
            raise ImageFileError(folder, "this is a link. Remove it, or name another folder with -o.")


def refusal(entry: Entry, out: Path) -> str | None:
    """Why a photo would be refused, as far as this is known before it is read; None: it would not be."""
    place = out / entry.found.name
    try:
        check_readable(entry.found.photo)
        refuse_links(place, out)
        if place.parent.exists():
            check_place(place, overwrite=entry.replaces, source=entry.found.photo)
    except (ImageFileError, OSError) as error:
        return _said(place, error)
    return None


class _Run:
    """The state of a run: which photos are refused, and how much memory they need."""

    def __init__(self, manifest: Manifest, job: Job, entries: dict[str, Entry], done: int) -> None:
        self._manifest, self._job, self._entries = manifest, job, entries
        self._memory = MemoryModel(job.threads)
        self._previews = MOST_PREVIEWS - done
        self._refused: list[Record] = []

    def tasks(self) -> Iterator[Task]:
        """The photos whose places are free; the others are refused."""
        for number, (name, entry) in enumerate(self._entries.items()):
            photo, place = entry.found.photo, self._manifest.out / name
            finished = self._manifest.parts / secrets.token_hex(8) / place.name
            size = picture_size(photo)
            pixels = None if size is None else size[0] * size[1]
            task = Task(photo, name, finished, self._job, number < self._previews, self._memory.need(pixels))
            try:
                refuse_links(place, self._manifest.out)
                place.parent.mkdir(parents=True, exist_ok=True)
                check_place(place, overwrite=entry.replaces, source=photo)
            except (ImageFileError, OSError) as error:
                self._refused.append(self._noted(task.failed(_said(place, error)).record))
            else:
                yield task

    def refused(self) -> list[Record]:
        """The records of the photos that were refused since the last call."""
        refused, self._refused = self._refused, []
        return refused

    def finish(self, task: Task, outcome: Outcome) -> Record:
        """Write the record, then give the result its place."""
        record, place = outcome.record, self._manifest.out / task.name
        self._memory.learn(record.pixels, outcome.memory)
        self._keep(task.name, outcome.previews)
        self._noted(record)
        if record.error is None:
            try:
                move_in_place(task.finished, place, overwrite=self._entries[task.name].replaces)
            except ImageFileError as error:
                record = self._noted(replace(record, error=str(error)))
        return record

    def _noted(self, record: Record) -> Record:
        self._manifest.add(record)
        return record

    def _keep(self, name: str, pictures: tuple[bytes, ...]) -> None:
        with contextlib.suppress(OSError):  # the report then shows no picture of this photo
            for path in preview_files(self._manifest.out, name):
                path.unlink(missing_ok=True)
            for path, content in zip(preview_files(self._manifest.out, name), pictures, strict=False):
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)


def _said(place: Path, error: Exception) -> str:
    if isinstance(error, ImageFileError):
        return str(error)
    assert isinstance(error, OSError)
    return f"{place}: it cannot be written ({error.strerror}). Name another folder with -o, or another name."


def preview_files(out: Path, name: str) -> tuple[Path, Path]:
    """Where the pictures of a photo for the report are kept: of the photo itself, and of the result."""
    key = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:24]
    folder = out / PRIVATE / "previews"
    return folder / f"{key}.before.jpg", folder / f"{key}.after.jpg"
