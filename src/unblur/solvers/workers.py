"""Run several tasks in parallel, each with an equal number of threads.

Most FFTs here are small. Two of them in parallel, with one thread each, take half the time of one after the other with
two threads.
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
"""Largest number of tasks in parallel. A tile of 1024 x 1024 pixels needs up to 600 MB while it is restored."""

_LOCK = threading.Lock()


def worker_count(device: torch.device) -> int:
    """The number of tasks to run in parallel: on a CPU one per thread of torch, up to `MOST_WORKERS`; otherwise 1."""
    with _LOCK:
        return min(torch.get_num_threads(), MOST_WORKERS) if device.type == "cpu" else 1


@contextmanager
def workers(count: int) -> Iterator[ThreadPoolExecutor]:
    """Create a pool of `count` threads. Each uses an equal part of the calling thread's number of torch threads."""
    # `torch.set_num_threads` changes the number of the calling thread, and the initial number of all threads that start
    # later. So all threads of the pool are started first, then the initial number is restored for other threads.
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
    torch.get_num_threads()  # the first call in a thread discards an earlier `set_num_threads`
    torch.set_num_threads(count)


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """Compute `[work(item) for item in items]` in parallel. After an exception no other item is started."""
    with workers(worker_count(device)) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
