"""`unblur restore DIR -o OUT`: restore whole folders, and say what became of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from unblur.cli.console import INTERRUPTED, progress_bar, say_error
from unblur.types import UnblurError

if TYPE_CHECKING:
    from unblur.pipeline.folders.manifest import Manifest, Record
    from unblur.pipeline.folders.processes import Executor
    from unblur.pipeline.folders.run import Entry
    from unblur.pipeline.folders.scan import Found
    from unblur.pipeline.folders.task import Job


@dataclass(frozen=True)
class Manner:
    """How a folder is restored.

    Attributes:
        jobs: number of photos at a time; None: as many as memory and processors allow.
        ray: address of a Ray cluster, or "local"; None: processes of this machine.
        resume: continue an earlier run.
        overwrite: replace files that exist.
        as_json: print the line of the manifest for each photo.
        quiet: print errors only.
    """

    jobs: int | None = None
    ray: str | None = None
    resume: bool = False
    overwrite: bool = False
    as_json: bool = False
    quiet: bool = False


def photos_of(sources: Sequence[Path], out: Path, manner: Manner) -> tuple[list[Found], bool]:
    """The photos of the sources. Nothing is written.

    Returns:
        The photos, and whether they are all; what was left out was printed as an error.

    Raises:
        UnblurError: sources or output folder that will not do.
    """
    from unblur.pipeline.folders.manifest import MANIFEST, PRIVATE
    from unblur.pipeline.folders.page import REPORT
    from unblur.pipeline.folders.scan import find_photos

    _check(out, manner)
    left_out: list[UnblurError] = []
    photos = find_photos(sources, out, left_out.append, own=(MANIFEST, REPORT, PRIVATE))
    for error in left_out:
        say_error(str(error))
    return photos, not left_out


def _check(out: Path, manner: Manner) -> None:
    from unblur.pipeline.folders.page import check_report
    from unblur.pipeline.folders.run import check_folder

    check_folder(out, resume=manner.resume, overwrite=manner.overwrite)
    check_report(out, overwrite=manner.overwrite)


def _plan(photos: Sequence[Found], out: Path, job: Job, manner: Manner) -> list[Entry]:
    from unblur.pipeline.folders.run import plan

    return plan(photos, out, dict(job.digest), resume=manner.resume, overwrite=manner.overwrite)


def say_plans(photos: Sequence[Found], out: Path, job: Job, manner: Manner) -> bool:
    """Print what would be done with each photo of a folder, or an error; True if there is no error."""
    from unblur.pipeline.folders.run import refusal

    refused = False
    for entry in _plan(photos, out, job, manner):
        error = None if entry.state == "done" else refusal(entry, out)
        if error is not None:
            refused = True
            say_error(error)
            continue
        # In JSON as in the manifest: the place in the output folder.
        place = entry.found.name if manner.as_json else out / entry.found.name
        say_plan(entry.found.photo, place, entry.state, entry.why, as_json=manner.as_json)
    return not refused


def say_plan(photo: Path, place: Path | str, state: str = "new", why: str = "", *, as_json: bool) -> None:
    """Print what would be done with a photo."""
    if as_json:
        typer.echo(json.dumps({"input": str(photo), "output": str(place), "state": state, "why": why}))
    else:
        typer.echo(f"{state}: {photo} -> {place}{f' ({why})' if why else ''}")


def restore_folders(photos: Sequence[Found], out: Path, job: Job, manner: Manner) -> bool:
    """Restore what is not done, write the report, and print a summary.

    Returns:
        True if all photos of this run have a result.

    Raises:
        UnblurError: when the output folder cannot be written.
        typer.Exit: after Ctrl-C.
    """
    from unblur.pipeline.folders.manifest import Manifest, read_histories
    from unblur.pipeline.folders.page import write_page

    names = {photo.name for photo in photos}
    executor = _executor(manner, job.threads)  # a cluster that is not there must be known before anything is written
    with Manifest(out, new=not manner.resume, check=partial(_check, out, manner)) as manifest:
        entries = _plan(photos, out, job, manner)  # not before, since another run may have written until now
        made = _run(entries, manifest, job, executor, manner)
        records = [history.last for name, history in read_histories(out).items() if name in names]
        page = write_page(records, out)
    if not manner.as_json and not manner.quiet:
        _say_summary(made, len(entries) - len(made), page)
    return all(record.error is None for record in made)


def _executor(manner: Manner, threads: int) -> Executor:
    from unblur.pipeline.folders.cluster import RayCluster
    from unblur.pipeline.folders.processes import LocalProcesses

    if manner.ray is None:
        return LocalProcesses(manner.jobs, threads=threads)
    return RayCluster(manner.ray, manner.jobs, threads=threads)


def _run(entries: Sequence[Entry], manifest: Manifest, job: Job, executor: Executor, manner: Manner) -> list[Record]:
    """Restore, with a progress bar, and print errors or lines of JSON as they come."""
    from rich.console import Console

    from unblur.pipeline.folders.run import restore_folder

    made: list[Record] = []
    drawn = Console(stderr=True).is_terminal
    try:
        with progress_bar(manifest.out.name, quiet=manner.quiet, remaining=drawn) as progress:
            for record in restore_folder(
                entries, manifest, job, executor, lambda count: progress.stage("restoring", count)
            ):
                made.append(record)
                if manner.as_json:
                    typer.echo(record.line())
                if record.error is not None:
                    say_error(record.error)
                progress.advance()
    except KeyboardInterrupt:
        typer.echo(f"stopped; {len(made)} photos are done. --resume continues.", err=True)
        raise typer.Exit(INTERRUPTED) from None
    return made


def _say_summary(made: Sequence[Record], done: int, page: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from unblur.pipeline.folders.page import Summary

    summary = Summary.of(made)
    table = Table("result", "photos")
    for method, count in summary.methods.items():
        table.add_row(f"restored by {method}", str(count))
    table.add_row("left as they were", str(summary.left))
    table.add_row("failed", str(summary.failed))
    if done:
        table.add_row("done before", str(done))
    console = Console()
    console.print(table)
    console.print(f"{summary.seconds:.0f} s of work; report: {page}", soft_wrap=True, highlight=False, markup=False)
