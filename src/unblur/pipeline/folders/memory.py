"""How much memory a photo needs, and how much there is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from unblur.solvers.tiles import WHOLE_UP_TO
from unblur.solvers.workers import MOST_WORKERS

SHARE = 0.8
"""Part of the free memory that the workers may use together; chosen by hand."""

_CGROUP = Path("/sys/fs/cgroup")


class MemoryModel:
    """Bytes that a worker needs, from the number of pixels: `base + per_pixel * pixels`, and more for parallel tiles.

    With one thread, `benchmarks/folder_memory.py` measured 0.36 to 0.67 GB for 0.4 megapixels, and 1.2 to 2.0 GB for
    12, depending on the method. The constants are above all of these. `learn` raises `per_pixel` for methods that need
    more.
    """

    base = 650_000_000
    """Python, torch, networks, and what a small photo needs."""

    per_pixel = 140.0

    per_tile = 600_000_000
    """What each further tile needs that is restored at the same time; see `solvers.workers.MOST_WORKERS`."""

    def __init__(self, threads: int = 1) -> None:
        """`threads`: of a worker; photos larger than `WHOLE_UP_TO` are restored in as many tiles at the same time."""
        self._more_tiles = min(threads, MOST_WORKERS) - 1
        self._lock = threading.Lock()

    def need(self, pixels: int | None) -> int:
        """Bytes for a photo with this number of pixels; None: its header could not be read, so it will fail early."""
        pixels = pixels or 0
        tiles = self._more_tiles if pixels > WHOLE_UP_TO else 0
        return round(self.base + self.per_pixel * pixels + self.per_tile * tiles)

    def learn(self, pixels: int | None, peak: int) -> None:
        """Take notice of what a photo needed.

        Args:
            pixels: of the photo.
            peak: memory of its worker, in bytes; 0 if it is not known.
        """
        if pixels:
            with self._lock:
                self.per_pixel = max(self.per_pixel, (peak - self.base) / pixels)


def free_memory() -> int | None:
    """Bytes that new processes may use: what the system says is available, or less in a container with a limit.

    None where this is not known, as on Windows.
    """
    free = _available()
    limit = _limit_of_container()
    return limit if free is None else free if limit is None else min(free, limit)


def processor_count() -> int:
    """The number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:  # macOS: the system does not say how much is free; half of the memory is assumed
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _limit_of_container() -> int | None:
    """What is left of the memory limit of the control group, version 2 or 1; None without a limit."""
    for limit, used in (
        (_CGROUP / "memory.max", _CGROUP / "memory.current"),
        (_CGROUP / "memory/memory.limit_in_bytes", _CGROUP / "memory/memory.usage_in_bytes"),
    ):
        try:
            return max(int(limit.read_text()) - int(used.read_text()), 0)
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return None
