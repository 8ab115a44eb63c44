"""Restore a folder with one and two workers, as local processes and on Ray, and compare times and bytes.

    python benchmarks/cluster.py PHOTOS_DIR [--photos 200] [--side 160] [--method nlm]

The photos are made as in `folder_kill.py`. Ray runs on this machine (extra `batch`). In the last run, one of the two
workers is ended with SIGKILL after a third of the photos. Times are from the first line of the manifest to the last
one, so that the start of Ray does not count; the time of the whole command stands beside. The exit code is 1 if a
result is missing or differs from that of one local process. Each worker computes with one thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from folder_kill import make_photos, results
from rich.console import Console
from rich.table import Table

RUNS = {
    "1 process": ["--jobs", "1"],
    "2 processes": ["--jobs", "2"],
    "1 Ray worker": ["--ray", "local", "--jobs", "1"],
    "2 Ray workers": ["--ray", "local", "--jobs", "2"],
    "2 Ray workers, one killed": ["--ray", "local", "--jobs", "2"],
}


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of photos.")],
    count: Annotated[int, typer.Option("--photos", help="Number of photos to make.")] = 200,
    side: Annotated[int, typer.Option(help="Longer side in pixels.")] = 160,
    method: Annotated[str, typer.Option(help="As for `unblur restore`.")] = "nlm",
) -> None:
    """Print a row for each run."""
    table, wanted = Table("workers", "photos a minute", "whole command", "results", "same bytes"), {}
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        damaged = make_photos(photos, folder / "photos", count, side)
        for number, (name, options) in enumerate(RUNS.items()):
            out = folder / f"out{number}"
            command = [sys.executable, "-m", "unblur", "restore", str(folder / "photos"), "-o", str(out), "--quiet"]
            started = time.perf_counter()
            rate = watched([*command, "--method", method, *options], out, count, kill="killed" in name)
            made = results(out)
            wanted = wanted or made
            same = sum(made.get(photo) == content for photo, content in wanted.items())
            failed |= not same == len(made) == count - damaged
            whole = f"{time.perf_counter() - started:.0f} s"
            table.add_row(name, f"{rate:.1f}", whole, str(len(made)), str(same))
            Console(stderr=True).print(name, f"{rate:.1f} photos a minute,", whole, highlight=False)
    Console().print(table)
    raise typer.Exit(1 if failed else 0)


def watched(command: list[str], out: Path, count: int, *, kill: bool) -> float:
    """Run a command, and return the number of photos a minute between the first and the last line of its manifest."""
    manifest, first, killed = out / "manifest.jsonl", (0.0, 0), not kill
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            time.sleep(0.02)
            lines = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
            if lines and not first[1]:
                first = time.perf_counter(), lines
            if lines < count:
                last = time.perf_counter()
            if not killed and lines >= count // 3:
                os.kill(a_worker(process.pid), signal.SIGKILL)
                killed = True
    if not killed or not first[1]:
        raise SystemExit("the run ended before it could be watched")
    return 60 * (count - first[1]) / (last - first[0])


def a_worker(command: int) -> int:
    """The process of a Ray worker that restores a photo, among those that the process `command` has started."""
    titles, parents = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            titles[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    for worker, title in titles.items():
        above = worker
        while above not in (0, command):
            above = parents.get(above, 0)
        if above == command and title.startswith(b"ray::_do_in"):  # the task of `pipeline.folders.cluster`
            return worker
    raise SystemExit("no Ray worker was found")


if __name__ == "__main__":
    typer.run(main)
