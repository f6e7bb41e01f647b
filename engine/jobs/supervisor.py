"""Sees to it that a worker lives. Finds one that an earlier server left, starts one where there is none, asks it to end.

A worker is known by what its lock file says: pid, start time and the port it is woken through. Computes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from engine.errors import JobError
from engine.jobs import mailbox
from engine.jobs.job import Job
from engine.jobs.lock import FileLock
from engine.jobs.process import holder_of, lives
from engine.jobs.store import open_store
from engine.workspace import Workspace

ROOT = Path(__file__).parents[2]
ASKED_TO_END = 130
LOG_TAIL = 400
"""Characters of the worker's log shown when it cannot start."""


def device_lock(workspace: Workspace, device: str = "auto") -> Path:
    """The lock of a device: whoever holds it may compute there."""
    return workspace.root / f"worker-{re.sub(r'[^a-z0-9]', '-', device.lower())}.lock"


def wake(workspace: Workspace, device: str = "auto") -> None:
    """Tell the worker, if there is one, to look into the queue now."""
    mailbox.wake(FileLock(device_lock(workspace, device)).read())


class Supervisor:
    """The worker of one device, seen from a process that does not compute.

    Args:
        extra_args: further arguments of the worker's command line.
    """

    def __init__(self, workspace: Workspace, extra_args: Sequence[str] = (), device: str = "auto") -> None:
        self.workspace, self.extra_args, self.device = workspace, tuple(extra_args), device
        self.lock = FileLock(device_lock(workspace, device))
        self.log = self.lock.path.with_suffix(".log")
        self._starting = threading.Lock()
        self._process: subprocess.Popen | None = None

    def holder(self) -> dict:
        """What the living holder of the device says of itself (`pid`, `role`, ...); {} when there is none."""
        told = self.lock.read()
        return told if holder_of(told) else {}

    def ensure_worker(self) -> None:
        """Start a worker unless the device has one, and wake it. Cheap, so it may be called whenever somebody looks.

        Raises:
            JobError: `worker.cannot_start`: it ended before it could do anything.
        """
        with self._starting:
            code = self._process.poll() if self._process else None  # also lets a dead child go
            holder = self.holder()
            if holder:
                mailbox.wake(holder)
                return
            if self._process and code is None:
                return
            self.reap()
            if self._process and code not in (0, ASKED_TO_END) and self.lock.read().get("pid") != self._process.pid:
                self._process = None
                raise JobError(
                    "worker.cannot_start", f"The process that computes ended at once with code {code}.",
                    todo=f"Look into {self.log}.", log=self.log, tail=self._log_tail(),
                )  # fmt: skip
            self._start()

    def wake(self) -> None:
        """Tell the worker to look into the queue now."""
        mailbox.wake(self.lock.read())

    def reap(self) -> list[Job]:
        """Settle jobs of dead workers: training becomes `lost`, pictures `failed`."""
        return open_store(self.workspace.database).reap(lives)

    def stop_workers(self, timeout: float = 10.0) -> bool:
        """Ask the worker to save its run and end; after `timeout` s it is killed, and the run goes on from its last saved state.

        A command line that holds the device is left alone.

        Returns:
            Whether it ended by itself.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            holder = self.holder()
            starting = self._process is not None and self._process.poll() is None
            if holder.get("role", "worker") != "worker" or not (holder or starting):
                return True
            mailbox.ask_to_stop(holder)
            time.sleep(0.05)
        for pid in {self.holder().get("pid"), self._process and self._process.pid} - {None}:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
                worker = psutil.Process(pid)
                worker.kill()
                worker.wait(timeout)
        self.reap()
        return False

    def command(self) -> list[str]:
        """The worker's command line. `-P`: modules come from the project, never from the folder the user is in."""
        folders = {
            "--ckpt-dir": self.workspace.checkpoint_folder, "--lora-dir": self.workspace.lora_folder,
            "--embeddings-dir": self.workspace.embedding_folder,
        }  # fmt: skip
        given = [word for name, folder in folders.items() if folder for word in (name, str(folder))]
        return [
            sys.executable, "-P", "-m", "engine.jobs.worker", "--data-dir", str(self.workspace.root), "--device", self.device,
            *given, *self.extra_args,
        ]  # fmt: skip

    def _start(self) -> None:
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
        own_session: dict = {"start_new_session": True}
        if os.name == "nt":
            own_session = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
        self.workspace.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, **own_session
            )
        finally:
            os.close(log)

    def _log_tail(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]
