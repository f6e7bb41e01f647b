"""Works on a tool job: merging, converting and the like. Any failure ends the job only; nothing half-done stays."""

from __future__ import annotations

import sys

from engine.config.load import validate
from engine.config.tools import ToolConfig
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, as_engine_error, trace
from engine.jobs.job import Job


def use_tool(desk: Desk, job: Job) -> None:
    """Carry out a claimed job. One whose process is asked to end goes back into the queue."""
    try:
        config = validate(ToolConfig, job.config)
        note = ProgressNote(desk, job)
        kind = config.tool.kind
        note.write({"phase": kind, "done": 0, "total": 0}, now=True)

        def on_progress(done: int, total: int) -> None:
            note.write({"phase": kind, "done": done, "total": total})
            if desk.request(job):
                raise Interrupted("job.interrupted", "The tool was not finished.")

        desk.finish(job, "done", result=desk.runners["tool"](config, desk.workspace, on_progress))
    except Interrupted:
        if desk.mailbox.stopping:
            desk.store.give_back(job.id)
        else:
            desk.finish(job, "cancelled")
    except Exception as error:
        print(f"{job.id} failed: {trace(error) or error}", file=sys.stderr, flush=True)
        desk.finish(job, "failed", as_engine_error(error))
