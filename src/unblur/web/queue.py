"""Jobs that wait for their turn: bounded, and fair to those who wait."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from unblur.types import UnblurError

Item = TypeVar("Item")

LONGEST = 200
"""Most jobs that wait in all."""

LONGEST_OF_ONE = 60
"""Most jobs of one owner that wait."""


class QueueFull(UnblurError):
    """No further job is taken at the moment."""


class FairQueue(Generic[Item]):
    """A queue of jobs with owners, for several threads. Next is the oldest job of the owner served longest ago.

    So an owner with one photo does not wait for all photos of another owner.

    Args:
        longest: most jobs that wait in all.
        longest_of_one: most jobs of one owner that wait.
    """

    def __init__(self, longest: int = LONGEST, longest_of_one: int = LONGEST_OF_ONE) -> None:
        self._longest, self._longest_of_one = longest, longest_of_one
        self._waiting: dict[str, deque[Item]] = {}
        self._served: dict[str, int] = {}  # owner -> number of the turn in which it was served last
        self._turn = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, owner: str, item: Item) -> None:
        """Let a job wait.

        Raises:
            QueueFull: too many wait already.
        """
        with self._changed:
            if sum(map(len, self._waiting.values())) >= self._longest:
                raise QueueFull(f"{self._longest} photos are waiting, which is the most. Try again later.")
            if len(self._waiting.get(owner, ())) >= self._longest_of_one:
                raise QueueFull(f"{self._longest_of_one} of your photos are waiting. Restore the others after these.")
            self._waiting.setdefault(owner, deque()).append(item)
            self._changed.notify()

    def get(self) -> Item | None:
        """Wait for a job and take it out; None once the queue is closed."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            owner = _next(self._waiting, self._served)
            self._turn += 1
            self._served[owner] = self._turn
            item = self._waiting[owner].popleft()
            self._tidy(owner)
            return item

    def remove(self, owner: str, item: Item) -> bool:
        """Take a job out that waits; False if it does not wait (any more)."""
        with self._changed:
            if item not in self._waiting.get(owner, ()):
                return False
            self._waiting[owner].remove(item)
            self._tidy(owner)
            return True

    def forget(self, owner: str) -> None:
        """Take all jobs of an owner out, and forget when it was served."""
        with self._changed:
            self._waiting.pop(owner, None)
            self._served.pop(owner, None)

    def order(self) -> list[Item]:
        """The jobs in the order in which they will be taken, if no other one comes."""
        with self._changed:
            waiting = {owner: deque(items) for owner, items in self._waiting.items()}
            served, turn, order = dict(self._served), self._turn, []
        while waiting:
            owner = _next(waiting, served)
            turn += 1
            served[owner] = turn
            order.append(waiting[owner].popleft())
            if not waiting[owner]:
                del waiting[owner]
        return order

    def close(self) -> None:
        """Let every `get` return None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _tidy(self, owner: str) -> None:
        if not self._waiting[owner]:
            del self._waiting[owner]


def _next(waiting: dict[str, deque[Item]], served: dict[str, int]) -> str:
    """Whose turn it is: the owner served longest ago; of those never served, the first to come."""
    return min(waiting, key=lambda owner: served.get(owner, 0))
