"""What `Progress` promises to threads: it is cancelled from any of them, and never reports twice at a time."""

from __future__ import annotations

import threading

import pytest
import torch

from helpers import blurred_scene
from unblur.methods import l0_psf
from unblur.solvers.workers import side_by_side
from unblur.types import Cancelled, Observation, Progress


class Overlapping(Progress):
    """Notices when a report begins before another has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.overlaps, self.steps = 0, 0, 0
        self.threads: set[int] = set()

    def on_stage(self, name, total):
        self._look()

    def on_advance(self, steps, figures):
        self._look()
        self.steps += steps

    def on_preview(self, pictures):
        self._look()

    def _look(self) -> None:
        self.inside += 1
        self.threads.add(threading.get_ident())
        threading.Event().wait(0.001)  # lets the other threads run
        self.overlaps += self.inside > 1
        self.inside -= 1


def test_reports_from_several_threads_come_one_at_a_time():
    progress, start = Overlapping(), threading.Barrier(4)

    def work(number: int) -> None:
        start.wait()
        for _ in range(10):
            progress.advance(number)
            progress.stage("next", 10)
            progress.preview(image=torch.zeros(1, 1, 1, 1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert progress.overlaps == 0
    assert progress.steps == 10 * (1 + 2 + 3 + 4)
    assert len(progress.threads) == 4


def test_a_report_may_itself_report_and_cancel():
    class Cancelling(Progress):
        def on_stage(self, name, total):
            self.advance()
            self.cancel()

    progress = Cancelling()
    progress.stage("only")
    for report in (progress.stage, progress.advance, progress.preview):
        with pytest.raises(Cancelled):
            report(*(["more"] if report == progress.stage else []))


def test_any_thread_may_cancel_work_that_runs_in_another():
    begun, cancelled, ends = threading.Event(), threading.Event(), []

    class Waiting(Progress):
        def on_advance(self, steps, figures):
            begun.set()
            cancelled.wait()

    progress = Waiting()

    def work() -> None:
        try:
            l0_psf.METHOD(Observation(blurry=blurred_scene(64, 64).blurry), {}, progress)
        except Cancelled:
            ends.append("cancelled")

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    progress.cancel()
    cancelled.set()
    thread.join()
    assert ends == ["cancelled"]


def test_work_on_several_threads_stops_at_the_next_report():
    progress, done = Progress(), []

    def work(number: int) -> None:
        progress.advance()
        progress.cancel()
        done.append(number)

    with pytest.raises(Cancelled):
        side_by_side(work, range(20), torch.device("cpu"))
    assert len(done) < 20
