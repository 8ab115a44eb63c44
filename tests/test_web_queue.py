"""Jobs that wait: bounded, fair, and safe in several threads."""

from __future__ import annotations

import threading

import pytest

from unblur.web.queue import FairQueue, QueueFull


def filled(**owners: int) -> FairQueue[str]:
    """`filled(a=2)`: a queue in which the jobs "a0" and "a1" wait."""
    queue: FairQueue[str] = FairQueue()
    for owner, count in owners.items():
        for number in range(count):
            queue.put(owner, f"{owner}{number}")
    return queue


def taken(queue: FairQueue[str], count: int) -> list[str | None]:
    return [queue.get() for _ in range(count)]


def test_the_jobs_of_one_owner_are_taken_in_their_order():
    assert taken(filled(a=3), 3) == ["a0", "a1", "a2"]


def test_owners_take_turns():
    assert taken(filled(a=4, b=2, c=1), 7) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]


def test_who_comes_later_with_one_job_does_not_wait_for_all_jobs_of_another():
    queue = filled(a=10)
    assert taken(queue, 2) == ["a0", "a1"]
    queue.put("b", "b0")
    assert queue.get() == "b0"
    assert queue.get() == "a2"


def test_the_order_that_is_told_is_the_order_in_which_jobs_are_taken():
    queue = filled(a=3, b=2)
    queue.get()
    told = queue.order()
    assert told == ["b0", "a1", "b1", "a2"]
    assert taken(queue, 4) == told
    assert queue.order() == []


def test_a_job_that_was_removed_is_not_taken():
    queue = filled(a=2, b=1)
    assert queue.remove("a", "a0")
    assert not queue.remove("a", "a0")
    assert taken(queue, 2) == ["a1", "b0"]


def test_an_owner_that_is_forgotten_has_no_jobs():
    queue = filled(a=2, b=1)
    queue.forget("a")
    assert queue.order() == ["b0"]


def test_more_jobs_than_allowed_are_refused():
    queue: FairQueue[str] = FairQueue(longest=3, longest_of_one=2)
    queue.put("a", "a0")
    queue.put("a", "a1")
    with pytest.raises(QueueFull, match="2 of your photos are waiting"):
        queue.put("a", "a2")
    queue.put("b", "b0")
    with pytest.raises(QueueFull, match="3 photos are waiting, which is the most"):
        queue.put("c", "c0")
    queue.get()
    queue.put("c", "c0")


def test_threads_that_wait_get_every_job_once_and_end_with_the_queue():
    queue: FairQueue[int] = FairQueue(longest=1000, longest_of_one=1000)
    got: list[int] = []

    def take() -> None:
        while (job := queue.get()) is not None:
            got.append(job)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(200):
        queue.put(f"owner {number % 8}", number)
    while queue.order():
        pass
    queue.close()
    for thread in threads:
        thread.join(10)
    assert sorted(got) == list(range(200))
