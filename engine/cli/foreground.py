"""A job from the command line: worked on in this process, or followed while another process has the device.

Either way Ctrl-C asks it to save and end, and a second Ctrl-C ends this process at once.
"""

from __future__ import annotations

import sys
import time

from engine.cli.common import one_line
from engine.errors import EngineError
from engine.jobs.desk import Desk
from engine.jobs.job import DOWNLOADS, FILES, WORKING, Job, lane_of
from engine.jobs.lock import FileLock
from engine.jobs.mailbox import Mailbox, obey_signals
from engine.jobs.process import lives, this_process
from engine.jobs.store import open_store
from engine.jobs.supervisor import device_lock
from engine.jobs.worker import Worker
from engine.workspace import Workspace

LOOK_SECONDS = 0.3
LINE_SECONDS = 5.0
"""Between two progress lines where they cannot be written over each other."""


def carry_out(job: Job, workspace: Workspace) -> Job:
    """See a queued job to its end; the job as it ended. Takes the device as soon as nobody has it."""
    lane = lane_of(job.kind)
    mailbox, lock, line = Mailbox(), FileLock(device_lock(workspace, lane)), ProgressLine(job.id)
    store = open_store(workspace.database)
    obey_signals(mailbox)
    asked = told = False
    while True:
        store.reap(lives)
        job = store.get(job.id)
        if mailbox.poll() and not asked:
            asked, job = True, store.ask(job.id, "stop")
        if job.state not in ("queued", *WORKING):
            line.end()
            mailbox.close()
            return job
        if job.state == "queued" and lock.acquire({**this_process(), "role": "command line"}):
            try:
                desk = Desk(workspace, store, mailbox, tell=line.show)
                worker = Worker(desk, lane)
                if worker.computes:
                    desk.runners["warm_up"](desk.workspace)
                claimed = store.claim(desk.worker, (job.kind,), only=job.id)
                if claimed:
                    worker.work(claimed)
            finally:
                lock.release()
            continue
        if not told:
            told = True
            holder = lock.read().get("pid", "?")
            busy = {"auto": "has the device", DOWNLOADS: "fetches files", FILES: "looks at pictures"}[lane]
            print(f"Process {holder} {busy}. The job {job.id} is in the queue and is followed here.", flush=True)
        line.show(job, job.progress or {"phase": job.state})
        time.sleep(LOOK_SECONDS)


def exit_code(job: Job) -> int:
    """0, 1 or 130 for a job that has ended, with the reason on stderr."""
    if job.state == "done":
        return 0
    if job.error:
        print(one_line(EngineError.from_dict(job.error)), file=sys.stderr)
    elif job.state == "paused":
        step = (job.result or {}).get("step", 0)
        print(f"Saved after step {step}. Go on with: python -m engine train --resume {job.id}", file=sys.stderr)
    else:
        print(f"The job is {job.state}.", file=sys.stderr)
    return 1 if job.error else 130


class ProgressLine:
    """One line that is written over on a terminal, and a line now and then elsewhere. Shows one job, not its guests."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.overwrites = sys.stdout.isatty()
        self._phase, self._time = "", 0.0

    def show(self, job: Job, progress: dict) -> None:
        if job.id != self.job_id:
            return
        if self.overwrites:
            print(f"\r\x1b[2K{describe(progress)}", end="", flush=True)
        elif progress.get("phase") != self._phase or time.monotonic() - self._time > LINE_SECONDS:
            print(describe(progress), flush=True)
            self._time = time.monotonic()
        self._phase = progress.get("phase", "")

    def end(self) -> None:
        if self.overwrites and self._phase:
            print()


def describe(progress: dict) -> str:
    """A progress note in words: phase, step, loss, time left."""
    words = [progress.get("phase") or "starting"]
    if progress.get("run"):
        words.append(f"for the end of the run {progress['run']}")
    if plan := progress.get("plan"):
        words.append(f"{plan['name']}  {plan['files']} files" if plan["files"] > 1 else plan["name"])
    if progress.get("speed") is not None:
        words.append(f"{progress['done'] / 1e6:,.1f} of {progress['total'] / 1e6:,.1f} MB  {progress['speed'] / 1e6:.1f} MB/s")
    elif progress.get("total"):
        words.append(f"{progress['done']}/{progress['total']}")
    if progress.get("steps"):
        words.append(f"step {progress['step']}/{progress['steps']}")
    if progress.get("loss") is not None:
        words.append(f"loss {progress['loss']:.4f}")
    if progress.get("seconds_left") is not None:
        minutes, seconds = divmod(round(progress["seconds_left"]), 60)
        hours, minutes = divmod(minutes, 60)
        words.append(f"time left {hours}:{minutes:02}:{seconds:02}" if hours else f"time left {minutes}:{seconds:02}")
    return "  ".join(words)
