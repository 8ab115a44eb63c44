"""Run tasks in processes of this machine, as many at a time as memory and processors allow.

A process that ends during a task, because of a fault in a library or because the system ended it for lack of memory, is
replaced. Its task, like one that ran out of memory, is tried a second time when no other task runs.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Protocol

from unblur.pipeline.folders.memory import SHARE, free_memory, processor_count
from unblur.pipeline.folders.task import Outcome, Task, do


class Executor(Protocol):
    """Runs tasks somewhere. Each task gets one outcome."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Give each task back with its outcome, in the order in which they end.

        Args:
            tasks: taken one by one, when there is room for another. While `run` is suspended, no task is started.
        """
        ...


class LocalProcesses:
    """Worker processes on this machine."""

    def __init__(self, jobs: int | None = None, *, threads: int = 1) -> None:
        """Begin with no process.

        Args:
            jobs: number of processes, regardless of memory. None: one for `threads` processors, and only as many
                photos at a time as fit in `SHARE` of the memory that is free now; where that is not known, one.
            threads: number of threads of a process.
        """
        free = free_memory()
        self.memory = None if jobs is not None or free is None else round(SHARE * free)
        if jobs is None:
            jobs = 1 if free is None else max(processor_count() // threads, 1)
        self.jobs = jobs
        self._busy: list[_Worker] = []
        self._idle: list[_Worker] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """As `Executor.run`. The processes end with the iterator."""
        coming, again = _Lookahead(tasks), deque[Task]()
        try:
            while True:
                while coming.next is not None and self._fits(coming.next):
                    self._start(coming.pop())
                if not self._busy:
                    if not again:
                        return
                    yield self._alone(again.popleft())
                    continue
                for worker in self._wait():
                    task, outcome = self._end(worker)
                    if outcome is None or outcome.short_of_memory:
                        again.append(task)
                    else:
                        yield task, outcome
        finally:
            for worker in (*self._busy, *self._idle):
                worker.stop()
            self._busy, self._idle = [], []

    def _fits(self, task: Task) -> bool:
        """Whether a task may start now. One task always runs, however large it is."""
        if len(self._busy) >= self.jobs:
            return False
        used = sum(worker.task.memory for worker in self._busy)
        return not self._busy or self.memory is None or used + task.memory <= self.memory

    def _start(self, task: Task) -> None:
        worker = self._idle.pop() if self._idle else _Worker()
        self._busy.append(worker)
        worker.start(task)

    def _wait(self) -> list[_Worker]:
        """The processes that have an outcome, or have ended."""
        ready = wait([worker.connection for worker in self._busy])
        return [worker for worker in self._busy if worker.connection in ready]

    def _end(self, worker: _Worker) -> tuple[Task, Outcome | None]:
        """The task of a process and its outcome; None if the process has ended."""
        self._busy.remove(worker)
        outcome = worker.outcome()
        if outcome is None:
            worker.stop()
        else:
            self._idle.append(worker)
        return worker.task, outcome

    def _alone(self, task: Task) -> tuple[Task, Outcome]:
        """Do a task once more, in a new process and without another one beside it."""
        for worker in self._idle:
            worker.stop()
        self._idle = []
        self._start(task.anew())
        (worker,) = self._wait()
        task, outcome = self._end(worker)
        if outcome is None:
            outcome = task.failed(f"{task.photo}: its worker process ended twice, {worker.end()}.")
        return task, outcome


class _Lookahead:
    """The next of some tasks, before it is taken."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = iter(tasks)
        self.next = next(self._tasks, None)

    def pop(self) -> Task:
        task = self.next
        assert task is not None
        self.next = next(self._tasks, None)
        return task


class _Worker:
    """A process that does one task after the other."""

    task: Task

    def __init__(self) -> None:
        # "spawn": a copy of this process (a fork) would hold locks of torch's threads that nothing ever frees.
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that an end of the process ends the connection

    def start(self, task: Task) -> None:
        """Give the process a task."""
        self.task = task
        with contextlib.suppress(OSError):  # the process has ended; `outcome` says so
            # Not `send`, with which torch would share the memory of tensors between the processes.
            self.connection.send_bytes(pickle.dumps(task))

    def outcome(self) -> Outcome | None:
        """The outcome of the task, when it has come; None if the process has ended."""
        try:
            return pickle.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """How the process ended."""
        code = self._process.exitcode or 0
        if code >= 0:
            return f"with exit code {code}"
        killed = " (perhaps for lack of memory)" if -code == getattr(signal, "SIGKILL", 9) else ""
        return f"by the signal {signal.Signals(-code).name}{killed}"

    def stop(self) -> None:
        """End the process at once."""
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection) -> None:
    """Do the tasks that come, until the connection or the process that started this one ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the first one ends these
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", module="PIL")  # a photo's notes say what matters to the user
    sys.stdout.flush()
    os.dup2(2, 1)  # what a method prints must not come between the lines of JSON
    while True:
        try:
            task = pickle.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        connection.send_bytes(pickle.dumps(do(task)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)  # the process that started this one was killed, so that nobody wants the result
