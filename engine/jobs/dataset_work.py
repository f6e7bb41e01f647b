"""Works on the jobs that only look at a dataset's pictures: the check and the thumbnails. What is done of one that ends is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from engine.config.check import CheckConfig
from engine.config.load import validate
from engine.config.thumbnails import ThumbnailConfig
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job


def check_dataset(desk: Desk, job: Job) -> None:
    """Carry out a claimed check. Its report is kept where `engine.datasets.doctor` finds it."""
    _look(desk, job, CheckConfig, desk.runners["check"])


def draw_thumbnails(desk: Desk, job: Job) -> None:
    """Carry out a claimed job for thumbnails."""
    _look(desk, job, ThumbnailConfig, desk.runners["thumbnails"])


def _look(desk: Desk, job: Job, kind: type[BaseModel], runner: Callable[..., dict[str, Any]]) -> None:
    def work() -> dict:
        note = ProgressNote(desk, job)
        note.write({"phase": job.kind, "done": 0, "total": 0}, now=True)

        def on_progress(done: int, total: int) -> None:
            if note.due:
                note.write({"phase": job.kind, "done": done, "total": total})
                if desk.request(job):
                    raise Interrupted("job.interrupted", "The pictures were not all looked at.")

        return runner(validate(kind, job.config), desk.workspace, on_progress)

    see_through(desk, job, work)
