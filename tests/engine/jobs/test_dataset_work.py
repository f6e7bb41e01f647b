"""The jobs that look at a dataset: their results, and one that nobody needs any more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine.config.check import CheckConfig
from engine.datasets.doctor import last_report
from engine.datasets.thumbnails import thumbnail
from engine.jobs import actions
from engine.jobs.desk import Desk
from engine.jobs.job import FILES, Job, lane_of
from engine.jobs.runners import RUNNERS
from engine.jobs.worker import Worker
from engine.workspace import SHIPPED_DATASETS, Workspace


@pytest.fixture
def worker(desk: Desk) -> Worker:
    desk.runners = {**desk.runners, "check": RUNNERS["check"], "thumbnails": RUNNERS["thumbnails"]}
    return Worker(desk, FILES)


@pytest.fixture
def dataset(workspace: Workspace) -> Path:
    folder = workspace.root / "datasets" / "robots"
    shutil.copytree(SHIPPED_DATASETS / "mascot", folder)
    return folder


def work(worker: Worker) -> list[Job]:
    worked = []
    while job := worker.claim():
        worker.work(job)
        worked.append(worker.desk.store.get(job.id))
    return worked


def test_a_check_gives_its_verdict_and_leaves_its_report(worker: Worker, workspace: Workspace, dataset: Path) -> None:
    assert last_report(dataset, workspace) is None
    actions.start_check(CheckConfig(dataset="robots"), workspace)
    (job,) = work(worker)
    assert (job.state, job.result, job.progress and job.progress["phase"]) == ("done", {"verdict": "ready"}, "check")
    kept = last_report(dataset, workspace)
    assert kept is not None and kept.report.verdict == "ready"


def test_a_second_check_takes_the_place_of_one_that_waits(worker: Worker, workspace: Workspace, dataset: Path) -> None:
    first, second = (actions.start_check(CheckConfig(dataset="robots", batch_size=size), workspace) for size in (1, 2))
    assert [job.id for job in work(worker)] == [second.id]
    assert worker.desk.store.get(first.id).state == "cancelled"


def test_thumbnails_are_made_once_for_all(worker: Worker, workspace: Workspace, dataset: Path) -> None:
    first, again = (actions.start_thumbnails("robots", workspace) for _ in range(2))
    assert first.id == again.id
    (job,) = work(worker)
    assert (job.state, job.result) == ("done", {"pictures": 16, "unreadable": 0})
    made = {file: file.stat().st_mtime_ns for file in (workspace.cache / "thumbnails").rglob("*.webp")}
    assert {thumbnail(picture, workspace) for picture in dataset.rglob("*.png")} == set(made)
    assert all(file.stat().st_mtime_ns == at for file, at in made.items())


def test_a_cancelled_look_ends_alone(
    worker: Worker, workspace: Workspace, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.jobs.desk.TELL_EVERY", 0)  # it is over before the second note otherwise
    slow, kept = actions.start_check(CheckConfig(dataset="robots"), workspace), actions.start_thumbnails("robots", workspace)
    worker.desk.tell = lambda job, progress: actions.cancel(slow, workspace) and None
    assert {job.id: job.state for job in work(worker)} == {slow.id: "cancelled", kept.id: "done"}


def test_they_are_no_work_for_the_device(desk: Desk, workspace: Workspace, dataset: Path) -> None:
    job = actions.start_check(CheckConfig(dataset="robots"), workspace)
    assert lane_of(job.kind) == FILES and Worker(desk).claim() is None
