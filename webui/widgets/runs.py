"""Runs as the page sees them: their logs, read on as they grow."""

from __future__ import annotations

import threading
from collections import OrderedDict

from engine.errors import EngineError
from engine.jobs import run_folder
from engine.jobs.events import EventLog, RunView, take
from engine.jobs.job import Job
from engine.workspace import Workspace

KEPT = 16
"""Runs whose folded log is kept in memory."""


class RunReader:
    """Folds the logs of runs, reading only what is new since the last look. Safe for many threads."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock = threading.Lock()
        self._runs: OrderedDict[str, tuple[EventLog, RunView, int]] = OrderedDict()

    def view(self, job: Job) -> RunView:
        """What the log of a run says by now; an empty view when its folder has gone. Not to be changed."""
        with self._lock:
            try:
                folder = run_folder.locate(self.workspace, job)
            except EngineError:
                return RunView()
            log, view, last = self._runs.pop(job.id, (EventLog(folder), RunView(), 0))
            for event in log.read(last):
                take(view, event)
                last = event["number"]
            self._runs[job.id] = log, view, last
            while len(self._runs) > KEPT:
                self._runs.popitem(last=False)
            return view
