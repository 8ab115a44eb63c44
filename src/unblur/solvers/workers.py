"""Several pieces of work side by side, each on its share of the cores.

Most FFTs here are small. Two of them on one thread each take half the time of one after the other on
two threads, and the gain holds on a busy machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_WORKERS = 4
"""Pieces worked on at once, at most: a tile takes up to 400 MB."""


@contextmanager
def workers(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """Threads that share out the cores torch may use; on an accelerator, one."""
    threads = torch.get_num_threads()
    count = min(threads, MOST_WORKERS) if device.type == "cpu" else 1
    try:
        with ThreadPoolExecutor(count, "unblur", torch.set_num_threads, (max(threads // count, 1),)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # what a worker sets is also what later threads would begin with


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """`[work(item) for item in items]`, several at once; the first exception is raised, and the rest not begun."""
    with workers(device) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
