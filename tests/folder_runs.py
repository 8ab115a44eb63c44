"""What the tests of folders share: folders of small photos, and runs in the process of the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from fakes import brightening
from helpers import save_photo
from unblur.pipeline.folders.manifest import Manifest, Record
from unblur.pipeline.folders.processes import Executor
from unblur.pipeline.folders.run import plan, restore_folder
from unblur.pipeline.folders.scan import find_photos
from unblur.pipeline.folders.task import Job, Outcome, Task, describe_job, do
from unblur.pipeline.options import Options

PHOTOS = ("a.png", "b.jpg", "trips/c.png", "trips/2024/d.tif")


def folder_of_photos(folder: Path, names: Iterable[str] = PHOTOS) -> Path:
    """A folder with small photos of these names, no two alike."""
    for number, name in enumerate(names):
        save_photo(folder / name, 24, 20 + number, seed=number)
    return folder


class ThisProcess:
    """An executor that does one task after the other where it is."""

    def __init__(self, most: int | None = None) -> None:
        """`most`: the run is interrupted before more tasks than this are done."""
        self._most = most
        self.done: list[str] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        for task in tasks:
            if len(self.done) == self._most:
                raise KeyboardInterrupt
            self.done.append(task.name)
            yield task, do(task)


def brightening_job(folder: Path, **options: object) -> Job:
    """A job that adds a tenth to every pixel; its method is a file in `folder`."""
    folder.mkdir(exist_ok=True)
    chosen = Options(brightening(folder), force=True, **options)
    return Job(chosen, digest=describe_job(chosen, {"method": Path(chosen.method)}, threads=1))


def run_folder(
    photos: Path,
    out: Path,
    job: Job,
    executor: Executor | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Record]:
    """Restore a folder; the records of this run by the names of the results."""
    executor = executor or ThisProcess()
    entries = plan(find_photos([photos], out), out, dict(job.digest), resume=resume, overwrite=overwrite)
    with Manifest(out, new=not resume) as manifest:
        return {record.output: record for record in restore_folder(entries, manifest, job, executor)}


def results(out: Path) -> dict[str, bytes]:
    """The results in an output folder by their names, without manifest, report and hidden files."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    names = {path: path.relative_to(out).as_posix() for path in files}
    own = ("manifest.jsonl", "report.html")
    return {name: path.read_bytes() for path, name in names.items() if name not in own and not name.startswith(".")}
