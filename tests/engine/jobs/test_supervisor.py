"""Real worker processes: started, found again, killed, asked to end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.errors import JobError
from engine.jobs import actions, run_folder
from engine.jobs.events import EventLog, fold
from engine.jobs.job import Job
from engine.jobs.lock import FileLock
from engine.jobs.process import this_process
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor, device_lock
from engine.workspace import Workspace

Settings = Callable[..., TrainConfig]
Until = Callable[..., object]


def state(workspace: Workspace, job: Job) -> str:
    return open_store(workspace.database).get(job.id).state


def running_run(workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until) -> Job:
    """A run that a worker process has brought to its second step."""
    job = actions.start_training(settings(**{"training.max_steps": 150, "output.comment": "slow"}), workspace)
    supervisor.ensure_worker()
    log = EventLog(run_folder.locate(workspace, job))
    until(lambda: fold(log.read()).step >= 2)
    return job


def test_a_worker_is_started_once_and_woken_within_a_second(workspace: Workspace, supervisor: Supervisor, until: Until) -> None:
    supervisor.ensure_worker()
    holder = until(supervisor.holder)
    for _ in range(3):
        supervisor.ensure_worker()
    assert supervisor.holder() == holder
    first = actions.start_generation(GenerateConfig(prompt="first", seed=1), workspace)
    until(lambda: state(workspace, first) == "done")
    time.sleep(0.2)  # it sleeps again
    job = actions.start_generation(GenerateConfig(prompt="a cat", seed=1), workspace)
    until(lambda: state(workspace, job) == "done")
    job = open_store(workspace.database).get(job.id)
    assert (job.started or 0) - job.created < 1
    assert oct((workspace.root / "worker-auto.lock").stat().st_mode)[-3:] == "600", "the token is the owner's"


def test_another_supervisor_finds_the_worker_and_a_second_worker_goes_away(
    workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until
) -> None:
    job = running_run(workspace, supervisor, settings, until)
    holder = supervisor.holder()
    later = type(supervisor)(workspace)  # the server was killed and started again
    later.ensure_worker()
    assert later.holder() == holder and later.reap() == [] and later._process is None
    later._start()
    assert later._process and later._process.wait(20) == 0
    assert state(workspace, job) == "running" and supervisor.holder() == holder


def test_a_worker_outlives_a_signal_to_the_server(workspace: Workspace, supervisor: Supervisor, until: Until) -> None:
    supervisor.ensure_worker()
    holder = until(supervisor.holder)
    assert isinstance(holder, dict)
    if os.name == "posix":
        assert os.getsid(holder["pid"]) == holder["pid"] != os.getsid(0)


def test_a_killed_worker_loses_its_run_which_goes_on_when_resumed(
    workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until
) -> None:
    job = running_run(workspace, supervisor, settings, until)
    waiting = actions.start_training(settings(**{"output.name": "waiting"}), workspace)
    psutil.Process(supervisor.holder()["pid"]).kill()
    until(lambda: not supervisor.holder())
    supervisor.ensure_worker()
    assert state(workspace, job) == "lost"
    until(lambda: state(workspace, waiting) == "done")
    folder = run_folder.locate(workspace, job)
    lost_at = fold(EventLog(folder).read()).step
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("comment: slow", "comment: ''"))
    actions.resume(job, workspace)
    until(lambda: state(workspace, job) == "done")
    events = EventLog(folder).read()
    assert [step for step, _ in fold(events).losses] == list(range(1, 151))
    resumed = next(event for event in events if event["type"] == "resumed")
    assert resumed["attempt"] == 2 and resumed["step"] in (lost_at, lost_at + 1), "the state may be a step ahead of the log"


def test_a_server_that_ends_asks_the_worker_to_save(
    workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until
) -> None:
    job = running_run(workspace, supervisor, settings, until)
    began = time.monotonic()
    assert supervisor.stop_workers(timeout=20)
    assert time.monotonic() - began < 10
    assert state(workspace, job) == "paused" and supervisor.holder() == {}
    assert supervisor._process and supervisor._process.wait(5) == 130
    assert fold(EventLog(run_folder.locate(workspace, job)).read()).stopped
    assert supervisor.stop_workers(), "nobody is there"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_saves_on_sigterm(workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until) -> None:
    job = running_run(workspace, supervisor, settings, until)
    os.kill(supervisor.holder()["pid"], signal.SIGTERM)
    assert supervisor._process and supervisor._process.wait(20) == 130
    assert state(workspace, job) == "paused"


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_worker_that_does_not_answer_is_killed(
    workspace: Workspace, supervisor: Supervisor, settings: Settings, until: Until
) -> None:
    job = running_run(workspace, supervisor, settings, until)
    os.kill(supervisor.holder()["pid"], signal.SIGSTOP)
    assert not supervisor.stop_workers(timeout=0.3)
    assert state(workspace, job) == "lost"


def test_a_worker_that_is_just_starting_is_asked_too(workspace: Workspace, supervisor: Supervisor) -> None:
    supervisor.ensure_worker()
    assert supervisor.stop_workers(timeout=20)
    assert supervisor._process and supervisor._process.poll() is not None


def test_a_command_line_that_has_the_device_is_left_alone(workspace: Workspace, supervisor: Supervisor) -> None:
    lock = FileLock(device_lock(workspace))
    assert lock.acquire({**this_process(), "role": "command line"})
    supervisor.ensure_worker()
    assert supervisor._process is None
    assert supervisor.stop_workers(timeout=0.1)
    lock.release()


def test_a_worker_that_cannot_start_is_told_with_its_last_words(workspace: Workspace, until: Until) -> None:
    class Broken(Supervisor):
        def command(self) -> list[str]:
            return [sys.executable, "-c", "raise SystemExit('no driver')"]

    supervisor = Broken(workspace)
    supervisor.ensure_worker()
    assert supervisor._process
    supervisor._process.wait(20)
    with pytest.raises(JobError) as refused:
        supervisor.ensure_worker()
    assert refused.value.code == "worker.cannot_start" and "no driver" in str(refused.value.values["tail"])


def test_devices_have_a_lock_each(tmp_path: Path) -> None:
    names = {device_lock(Workspace(tmp_path), device).name for device in ("auto", "cpu", "cuda:0", "cuda:1")}
    assert names == {"worker-auto.lock", "worker-cpu.lock", "worker-cuda-0.lock", "worker-cuda-1.lock"}


def test_the_command_line_passes_the_folders_on(tmp_path: Path) -> None:
    command = Supervisor(Workspace(tmp_path, lora_folder=tmp_path / "l"), ["--device", "cpu"]).command()
    assert command[command.index("--lora-dir") + 1] == str(tmp_path / "l")
    assert "--ckpt-dir" not in command and command[-2:] == ["--device", "cpu"]
