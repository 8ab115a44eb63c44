"""Worker processes: how many work at a time, and what happens when one of them ends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakes import fake_method
from folder_runs import PHOTOS, folder_of_photos, results, run_folder
from unblur.pipeline.folders import processes
from unblur.pipeline.folders.manifest import Record
from unblur.pipeline.folders.processes import LocalProcesses
from unblur.pipeline.folders.task import Job, Outcome, Task, do
from unblur.pipeline.options import Options

MB = 10**6


class FakeWorker:
    """In place of a process: ends its tasks when it is asked, as `fate` says for the name of each."""

    running: list[str]
    most: int
    fate: dict[str, list[Outcome | None]]
    started: list[str]

    def start(self, task: Task) -> None:
        self.task = task
        FakeWorker.running.append(task.name)
        FakeWorker.started.append(task.name)
        FakeWorker.most = max(FakeWorker.most, len(FakeWorker.running))

    @property
    def connection(self) -> FakeWorker:
        return self

    def outcome(self) -> Outcome | None:
        FakeWorker.running.remove(self.task.name)
        fates = FakeWorker.fate.get(self.task.name)
        return fates.pop(0) if fates else Outcome(Record("", self.task.name))

    def end(self) -> str:
        return "by a fake"

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _fresh():
    FakeWorker.running, FakeWorker.most, FakeWorker.fate, FakeWorker.started = [], 0, {}, []


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(processes, "_Worker", FakeWorker)
    monkeypatch.setattr(processes, "wait", lambda connections: connections[-1:])
    monkeypatch.setattr(processes, "processor_count", lambda: 8)
    monkeypatch.setattr(processes, "free_memory", lambda: 1000 * MB)


def tasks(**memory: int) -> list[Task]:
    """Tasks by their names, with the memory in MB that they need."""
    return [
        Task(Path(name), name, Path("parts", name, name), Job(Options()), memory=n * MB) for name, n in memory.items()
    ]


def outcomes(executor: LocalProcesses, todo: list[Task]) -> dict[str, str | None]:
    return {task.name: outcome.record.error for task, outcome in executor.run(todo)}


@pytest.mark.parametrize(
    ("jobs", "threads", "need", "at_a_time"),
    [
        (None, 1, 10, 8),  # the processors
        (None, 4, 10, 2),  # of which each photo uses four
        (None, 1, 200, 4),  # 80 % of the memory
        (None, 1, 5000, 1),  # one always runs
        (3, 1, 5000, 3),  # as was asked
    ],
)
def test_as_many_run_as_memory_and_processors_allow(fake, jobs, threads, need, at_a_time):
    todo = tasks(**{f"photo{number}": need for number in range(20)})
    assert len(outcomes(LocalProcesses(jobs, threads=threads), todo)) == 20
    assert FakeWorker.most == at_a_time


def test_a_large_photo_waits_for_room(fake):
    executor = LocalProcesses()
    names = list(outcomes(executor, tasks(a=300, b=300, large=700, c=100)))
    assert FakeWorker.started == ["a", "b", "large", "c"]
    assert FakeWorker.most == 2 and set(names) == {"a", "b", "large", "c"}


def test_without_knowledge_of_the_memory_one_runs(fake, monkeypatch):
    monkeypatch.setattr(processes, "free_memory", lambda: None)
    outcomes(LocalProcesses(), tasks(a=1, b=1, c=1))
    assert FakeWorker.most == 1


def test_what_lacked_memory_is_tried_again_alone_at_the_end(fake):
    short = Outcome(Record("", "b", error="b: not enough memory"), short_of_memory=True)
    FakeWorker.fate = {"b": [short], "c": [None]}
    done = outcomes(LocalProcesses(), tasks(a=1, b=1, c=1, d=1))
    assert done == dict.fromkeys("abcd")
    assert sorted(FakeWorker.started[-2:]) == ["b", "c"] and FakeWorker.started[:4] == list("abcd")


def test_what_fails_twice_is_an_error(fake):
    short = Outcome(Record("", "b", error="b: not enough memory"), short_of_memory=True)
    FakeWorker.fate = {"b": [short, short], "c": [None, None]}
    assert outcomes(LocalProcesses(), tasks(a=1, b=1, c=1)) == {
        "a": None,
        "b": "b: not enough memory",
        "c": "c: its worker process ended twice, by a fake.",
    }


def test_tasks_are_taken_when_there_is_room(fake):
    taken: list[str] = []

    def coming():
        for task in tasks(**{f"photo{number}": 1 for number in range(9)}):
            taken.append(task.name)
            yield task

    run = LocalProcesses(jobs=2).run(coming())
    next(run)
    assert len(taken) == 3, "two that run, and the next one"


def test_an_error_is_an_outcome_and_names_the_photo(tmp_path):
    outcome = do(Task(tmp_path / "none.png", "none.png", tmp_path / "parts/none.png", Job(Options())))
    assert outcome.record.error == f"{tmp_path / 'none.png'}: there is no such file. Check the name."


def test_a_real_process_restores_with_threads_of_its_own_and_prints_nothing(tmp_path, capfd):
    photos = folder_of_photos(tmp_path / "photos", ["a.png", "b.png"])
    body = (
        "import os; print('noise')\n"
        "    return Restoration(image=observation.blurry, notes=[f'{os.getpid()} {torch.get_num_threads()}'])"
    )
    job = Job(Options(fake_method(tmp_path, "telling", body), force=True), threads=2)
    records = run_folder(photos, tmp_path / "out", job, LocalProcesses(jobs=1, threads=2))
    pids, threads = zip(*(record.notes[0].split() for record in records.values()), strict=True)
    assert threads == ("2", "2")
    assert pids[0] == pids[1] != str(os.getpid())
    assert capfd.readouterr() == ("", "noise\nnoise\n")


@pytest.mark.slow  # it starts three processes, which import torch: 8 s on an idle machine
def test_a_photo_that_ends_its_process_does_not_end_the_run(tmp_path):
    photos = folder_of_photos(tmp_path / "photos")
    body = (
        "import os\n    if observation.blurry.shape[-1] == 21: os.abort()\n    return Restoration(observation.blurry)"
    )
    job = Job(Options(fake_method(tmp_path, "aborting", body), force=True))
    records = run_folder(photos, tmp_path / "out", job, LocalProcesses(jobs=1))
    assert records["b.jpg"].error == f"{photos / 'b.jpg'}: its worker process ended twice, by the signal SIGABRT."
    assert set(results(tmp_path / "out")) == set(PHOTOS) - {"b.jpg"}
