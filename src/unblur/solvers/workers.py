"""Run several pieces of work at once, each on its share of the processor's cores.

Most FFTs here are small: two of them on one thread each take half the time of one after the other on two threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 4
"""Most pieces of work at once. A tile of 1024 pixels takes up to 600 MB while it is restored."""

_LOCK = threading.Lock()


def worker_count(device: torch.device) -> int:
    """How many pieces of work to run at once: at most one per thread of torch, and one on an accelerator."""
    with _LOCK:
        return min(torch.get_num_threads(), MOST_WORKERS) if device.type == "cpu" else 1


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads among which the calling thread's share of the cores is divided.

    `torch.set_num_threads` changes the calling thread and the number with which later threads begin. So all threads of
    the pool are started before any work, and that number is set back: other threads keep their share of the cores.
    """
    with _LOCK:
        threads = torch.get_num_threads()
    with ThreadPoolExecutor(count, "unblur", _use_threads, (max(threads // count, 1),)) as pool:
        with _LOCK:
            all_started = threading.Barrier(count)
            try:
                wait([pool.submit(all_started.wait) for _ in range(count)])
            except BaseException:  # a thread could not be started: release those that wait for it
                all_started.abort()
                raise
            torch.set_num_threads(threads)
        yield pool


def _use_threads(count: int) -> None:
    torch.get_num_threads()  # first, since a thread's first call of it discards what was set before
    torch.set_num_threads(count)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """`[work(item) for item in items]`, several at once; the first exception is raised, and the rest not begun."""
    with workers(worker_count(device)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
