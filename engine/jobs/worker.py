"""The process that computes: `python -m engine.jobs.worker --data-dir DIR`. One per data folder and device.

It takes jobs one after the other, pictures first, then grids, then tools, then training. Pictures come in between the cells of
a grid, and between the steps of a run for the same base, where tools do too. A job that fails ends alone. Knows no page: whoever wants something writes a row and sends a wake.

The worker of a lane (`engine.jobs.job.LANES`) is the same loop in a process of its own, without PyTorch; it ends when there is nothing
more to do.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
import traceback
from pathlib import Path

from engine.errors import EngineError, JobError
from engine.jobs.captioning import caption
from engine.jobs.dataset_work import check_dataset, draw_thumbnails
from engine.jobs.desk import Desk
from engine.jobs.downloading import fetch_files
from engine.jobs.generating import make_pictures
from engine.jobs.gridding import make_grid
from engine.jobs.idle import Hasher
from engine.jobs.job import LANES, Job, Kind
from engine.jobs.lock import FileLock
from engine.jobs.mailbox import Mailbox, obey_signals
from engine.jobs.process import lives, this_process
from engine.jobs.runners import RUNNERS, Runners, Studio
from engine.jobs.store import JobStore
from engine.jobs.supervisor import device_lock
from engine.jobs.tooling import use_tool
from engine.jobs.training import train
from engine.workspace import Workspace

ORDER: tuple[Kind, ...] = ("generate", "grid", "tool", "caption", "train")
"""Pictures first, since somebody waits for them; tools take a minute, runs may take a day."""
LOOK_SECONDS = 3.0
"""Between two looks into the queue when no wake comes."""
IDLE_SECONDS = 30 * 60.0
"""A model that nobody used for so long is let go."""
LANE_SECONDS = 60.0
"""A worker that does not compute ends after so long without a job."""


class Worker:
    """The loop over the queue.

    Args:
        lane: a key of LANES, or a device.
        idle_seconds: after so long without a job a lane's worker ends, and that of a device lets go of its model.
    """

    def __init__(self, desk: Desk, lane: str = "auto", idle_seconds: float | None = None) -> None:
        self.desk, self.order, self.computes = desk, LANES.get(lane, ORDER), lane not in LANES
        usual = IDLE_SECONDS if self.computes else LANE_SECONDS
        self.idle_seconds = usual if idle_seconds is None else idle_seconds
        self._studio: Studio | None = None
        self._hasher = Hasher(desk.workspace)
        self._used = time.monotonic()

    def run(self) -> None:
        """Work until asked to end."""
        while not self.desk.mailbox.poll():
            try:
                job = self.claim()
                if job:
                    self.work(job)
                    self._used = time.monotonic()
                    continue
            except sqlite3.Error:  # a full disk, a folder taken away for a moment: the queue is looked at again
                traceback.print_exc()
            if time.monotonic() - self._used > self.idle_seconds:
                if not self.computes:
                    return
                self.release()
                self.desk.runners["let_go"]()
                self._used = time.monotonic()
            busy = self.computes and self._hasher.go_on()
            self.desk.mailbox.wait(0 if busy else LOOK_SECONDS)

    def claim(self) -> Job | None:
        """The next job, by the order of kinds and then by age."""
        store, worker = self.desk.store, self.desk.worker
        return next((job for kind in self.order if (job := store.claim(worker, (kind,)))), None)

    def work(self, job: Job) -> None:
        """Work on one claimed job to its end."""
        if job.kind == "train":
            self.release()
            train(self.desk, job)
        elif job.kind == "tool":
            use_tool(self.desk, job)
        elif job.kind == "download":
            fetch_files(self.desk, job)
        elif job.kind == "check":
            check_dataset(self.desk, job)
        elif job.kind == "thumbnails":
            draw_thumbnails(self.desk, job)
        elif job.kind in ("tag", "caption"):
            self._caption(job)
        elif job.config.get("live_run"):  # it was queued while that run trained, and the run has ended since
            self.desk.finish(job, "failed", JobError(
                "run.not_live", "The run is not training any more.", todo="Use its finished LoRA in the prompt: <lora:name:1>.",
                id=job.config["live_run"],
            ))  # fmt: skip
        elif job.kind == "grid":
            make_grid(self.desk, job, self.studio(), self.serve)
        else:
            make_pictures(self.desk, job, self.studio())

    def _caption(self, job: Job) -> None:
        if self.computes:  # a captioner has the device to itself
            self.release()
            self.desk.runners["let_go"]()
        caption(self.desk, job)

    def studio(self) -> Studio:
        """Where pictures are made."""
        self._studio = self._studio or self.desk.runners["generate"](self.desk.workspace)
        return self._studio

    def serve(self) -> None:
        """Make the pictures that somebody waits for."""
        while job := self.desk.store.claim(self.desk.worker, ("generate",)):
            self.work(job)

    def release(self) -> None:
        """Put the model that pictures are made with back as it was loaded."""
        if self._studio:
            self._studio.release()
            self._studio = None


def work_alone(workspace: Workspace, device: str, runners: Runners) -> int:
    """Be the worker of a device or lane until asked to end; nothing happens when it has one already. Returns the exit code."""
    lock, mailbox = FileLock(device_lock(workspace, device)), Mailbox()
    if not lock.acquire({**this_process(), "port": mailbox.port, "token": mailbox.token, "role": "worker"}):
        return 0
    try:
        obey_signals(mailbox)
        desk = Desk(workspace, JobStore(workspace.database), mailbox, runners)
        desk.store.reap(lives)
        worker = Worker(desk, device)
        if worker.computes:
            _warm_up(desk)
        worker.run()
    finally:
        lock.release()
        mailbox.close()
    return 130


def _warm_up(desk: Desk) -> None:
    try:
        desk.runners["warm_up"](desk.workspace)
    except Exception:  # the jobs themselves will say what is wrong
        traceback.print_exc()


def main(arguments: list[str], runners: Runners = RUNNERS) -> int:
    """Returns the exit code: 130 asked to end and saved, 0 not needed, 1 failed."""
    parser = argparse.ArgumentParser(prog="python -m engine.jobs.worker", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    for name in ("--ckpt-dir", "--lora-dir", "--embeddings-dir"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    workspace = Workspace(options.data_dir.resolve(), options.ckpt_dir, options.lora_dir, options.embeddings_dir).prepare()
    try:
        return work_alone(workspace, options.device, runners)
    except EngineError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(code)  # everything is saved; taking down a half-used GPU library can hang
