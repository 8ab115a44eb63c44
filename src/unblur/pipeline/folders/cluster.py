"""Run tasks on a Ray cluster. All its machines see the photos and the output folder under the same paths.

A task whose worker or machine dies is submitted again. The results are written and recorded by the process that submits
the tasks, as with local processes, so that manifest and bytes are the same.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unblur.pipeline.folders.task import Outcome, Task, do
from unblur.types import UnblurError

TRIES = 3
"""How often a task is submitted whose worker died each time."""

_ANSWERS_WITHIN = 10.0  # s
LOCAL = "local"
"""The address that starts Ray on this machine."""


class RayCluster:
    """Workers of a Ray cluster; an `Executor`."""

    def __init__(self, address: str, jobs: int | None = None, *, threads: int = 1) -> None:
        """Connect to a cluster, or start Ray on this machine.

        Args:
            address: of the cluster, such as `10.0.0.1:6379` or `auto`; `LOCAL`: Ray is started on this machine.
            jobs: number of photos at a time; None: one for `threads` processors of the cluster.
            threads: number of threads, and processors, for a photo.

        Raises:
            UnblurError: Ray is not installed, or the cluster cannot be reached.
        """
        try:
            ray: Any = importlib.import_module("ray")
        except ImportError:
            raise UnblurError("--ray needs one more package: pip install 'unblur[batch]'.") from None
        self._ray = ray
        if address != LOCAL:
            _check_address(address)
        processors = {"num_cpus": jobs * threads} if address == LOCAL and jobs is not None else {}
        try:
            ray.init(
                address=None if address == LOCAL else address,
                include_dashboard=False if address == LOCAL else None,
                logging_level="error",
                log_to_driver=False,  # what a method prints must not come between the lines of JSON
                **processors,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UnblurError(f"--ray {address}: there is no such cluster ({error}).") from None
        self._threads = threads
        self._most = None if address == LOCAL else jobs  # on this machine, Ray has only the processors asked for
        self.jobs = jobs or max(int(ray.cluster_resources().get("CPU", 1)) // threads, 1)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As `Executor.run`. The connection ends with the iterator."""
        ray = self._ray
        work = ray.remote(num_cpus=self._threads, max_retries=0)(_do_in)
        largest = max((node["Resources"].get("memory", 0) for node in ray.nodes()), default=0)
        coming, again = iter(tasks), deque[tuple[Task, int]]()
        running: dict[Any, tuple[Task, int]] = {}
        try:
            while True:
                # Twice as many as work at a time, so that a worker that is ready finds a task.
                while len(running) < (self._most or 2 * self.jobs):
                    task, tries = again.popleft() if again else (next(coming, None), 1)
                    if task is None:
                        break
                    memory = min(task.memory, int(largest))
                    running[work.options(memory=memory).remote(task, Path.cwd())] = task, tries
                if not running:
                    return
                (ended, *_), _ = ray.wait(list(running), num_returns=1)
                task, tries = running.pop(ended)
                try:
                    yield task, ray.get(ended)
                except ray.exceptions.RayTaskError as error:  # such as another version of unblur on that machine
                    said = str(error.cause or error).strip().splitlines()[-1]
                    yield task, task.failed(f"{task.photo}: a worker of the cluster failed ({said}).")
                except ray.exceptions.RayError as error:  # the worker or its machine has died
                    if tries < TRIES:
                        again.append((task.anew(), tries + 1))
                    else:
                        said = type(error).__name__
                        yield task, task.failed(f"{task.photo}: its worker died {TRIES} times ({said}).")
        finally:
            ray.shutdown()


def _check_address(address: str) -> None:
    """Check that something answers at `HOST:PORT`; Ray itself would try for minutes.

    Raises:
        UnblurError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return  # such as "auto", which Ray resolves
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UnblurError(f"--ray {address}: there is no such cluster ({error}).") from None


def _do_in(task: Task, folder: Path) -> Outcome:
    """Do a task in the folder of the process that has submitted it, for paths that are relative."""
    with contextlib.suppress(OSError):
        os.chdir(folder)
    return do(task)
