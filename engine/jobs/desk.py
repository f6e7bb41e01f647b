"""What a job needs from the process that works on it, and how every job ends: with a row that says so."""

from __future__ import annotations

import errno
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from engine.errors import EngineError, Interrupted, JobError
from engine.jobs.job import Job, State
from engine.jobs.mailbox import Mailbox
from engine.jobs.process import identity, this_process
from engine.jobs.runners import RUNNERS, Runners
from engine.jobs.store import JobStore
from engine.workspace import Workspace

TELL_EVERY = 0.5
"""Seconds between two progress notes of one job."""
RETRY_SECONDS = 5.0
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


@dataclass
class Desk:
    """A process that works on jobs: a worker, or a command line that does its own.

    Attributes:
        worker: its identity in job rows.
        tell: called with each progress note, for a screen of its own.
    """

    workspace: Workspace
    store: JobStore
    mailbox: Mailbox
    runners: Runners = field(default_factory=lambda: RUNNERS)
    tell: Callable[[Job, dict], None] = lambda job, progress: None
    worker: str = field(default_factory=lambda: identity(this_process()))

    def request(self, job: Job) -> str | None:
        """What the user, or the end of this process, asks of a job: "stop", "cancel", "skip" or nothing."""
        if self.mailbox.poll():
            self.store.ask(job.id, "stop")
        return self.store.get(job.id).request

    def finish(self, job: Job, state: State, error: EngineError | None = None, result: dict | None = None) -> None:
        """Write down how a job ended. On a full disk this waits for space: an end that nobody knows would block the queue."""
        while True:
            try:
                return self.store.finish(job.id, state, error.to_dict() if error else None, result)
            except sqlite3.OperationalError as problem:
                print(f"{job.id} is {state}, which cannot be written yet: {problem}", file=sys.stderr, flush=True)
                if self.mailbox.poll():
                    raise
                time.sleep(RETRY_SECONDS)


def see_through(desk: Desk, job: Job, work: Callable[[], dict], so_far: Callable[[], dict | None] = lambda: None) -> None:
    """Do the work of a claimed job and write down how it ended. Any failure ends the job only.

    Args:
        work: gives the result. It raises Interrupted when it was asked to end; the job of a process that is asked to end goes back
            into the queue.
        so_far: the result of a job that ends before its time, if there is any.
    """
    try:
        desk.finish(job, "done", result=work())
    except Interrupted:
        if desk.mailbox.stopping:
            desk.store.give_back(job.id)
        else:
            desk.finish(job, "cancelled", result=so_far())
    except Exception as error:
        print(f"{job.id} failed: {trace(error) or error}", file=sys.stderr, flush=True)
        desk.finish(job, "failed", as_engine_error(error), so_far())


class ProgressNote:
    """Writes a job's progress, but not more often than a screen can show it."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.desk, self.job = desk, job
        self._told = 0.0

    @property
    def due(self) -> bool:
        """Whether the next one will be written."""
        return time.monotonic() - self._told >= TELL_EVERY

    def write(self, progress: dict, now: bool = False) -> None:
        if now or self.due:
            self._told = time.monotonic()
            self.desk.store.progress(self.job.id, progress)
            self.desk.tell(self.job, progress)


def as_engine_error(error: Exception) -> EngineError:
    """Any failure as one for people."""
    if isinstance(error, EngineError):
        return error
    if disk_is_full(error):
        return JobError("disk.full", "The disk is full.", todo="Free some space, then resume; what was saved before is whole.")
    kind = type(error).__name__
    return JobError("unexpected", f"Unexpected error: {kind}: {error}.", todo="The log has the details.", type=kind)


def disk_is_full(error: Exception) -> bool:
    full_database = isinstance(error, sqlite3.OperationalError) and "full" in str(error)
    return full_database or (isinstance(error, OSError) and error.errno in NO_SPACE)


def trace(error: Exception) -> str:
    """The traceback of an error that nobody expected, "" for one that says itself what happened."""
    return "" if isinstance(error, EngineError) else "".join(traceback.format_exception(error))
