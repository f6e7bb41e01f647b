"""Works on a download job. What has arrived of one that ends too early stays, and the same job started again goes on from there."""

from __future__ import annotations

from typing import Any

from engine.config.downloads import DownloadConfig
from engine.config.load import validate
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job


def fetch_files(desk: Desk, job: Job) -> None:
    """Carry out a claimed job."""

    def work() -> dict:
        note = ProgressNote(desk, job)
        phase = ""

        def tell(progress: dict[str, Any]) -> None:
            nonlocal phase
            note.write(progress, now=progress["phase"] != phase)
            phase = progress["phase"]
            if desk.request(job):
                raise Interrupted("job.interrupted", "The download was not finished.")

        return desk.runners["download"](validate(DownloadConfig, job.config), desk.workspace, tell)

    see_through(desk, job, work)
