"""Works on a job that writes captions. What is done of one that is cancelled is written; one that goes on later writes at its end."""

from __future__ import annotations

from typing import Any

from engine.config.caption import CaptionConfig
from engine.config.load import validate
from engine.datasets.captioning import Captioning
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job


def caption(desk: Desk, job: Job) -> None:
    """Carry out a claimed job."""
    begun: list[Captioning] = []

    def work() -> dict[str, Any]:
        note = ProgressNote(desk, job)
        phase = ""

        def tell(progress: dict[str, Any]) -> None:
            nonlocal phase
            if note.due or progress["phase"] != phase:
                note.write(progress, now=True)
                phase = progress["phase"]
                if desk.request(job):
                    raise Interrupted("job.interrupted", "The pictures were not all looked at.")

        begun.append(captioning := Captioning(validate(CaptionConfig, job.config), desk.workspace))
        try:
            captioning.look(tell)
        except Interrupted:
            if not desk.mailbox.stopping:
                captioning.write()
            raise
        return captioning.write()

    see_through(desk, job, work, lambda: begun[0].result if begun else None)
