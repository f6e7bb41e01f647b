"""Works on a tool job: merging, converting and the like. Nothing half-done stays of one that fails."""

from __future__ import annotations

from engine.config.load import validate
from engine.config.tools import ToolConfig
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job


def use_tool(desk: Desk, job: Job) -> None:
    """Carry out a claimed job."""

    def work() -> dict:
        config = validate(ToolConfig, job.config)
        note = ProgressNote(desk, job)
        kind = config.tool.kind
        note.write({"phase": kind, "done": 0, "total": 0}, now=True)

        def on_progress(done: int, total: int) -> None:
            note.write({"phase": kind, "done": done, "total": total})
            if desk.request(job):
                raise Interrupted("job.interrupted", "The tool was not finished.")

        return desk.runners["tool"](config, desk.workspace, on_progress)

    see_through(desk, job, work)
