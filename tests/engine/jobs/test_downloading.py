"""Downloads as jobs: a lane of their own, no token in the row, ended and gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.config.downloads import DownloadConfig
from engine.config.train import TrainConfig
from engine.downloads.tokens import save_token
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.desk import Desk
from engine.jobs.job import DOWNLOADS, Job
from engine.jobs.runners import RUNNERS
from engine.jobs.store import open_store
from engine.jobs.supervisor import Supervisor
from engine.jobs.worker import Worker
from engine.model_facts import STARTER_FOLDER
from engine.workspace import Workspace
from tests.engine.jobs.conftest import CountingSupervisor
from tests.engine.jobs.test_worker import work_all
from tests.support.file_server import FileServer, file_server

ROOT = Path(__file__).parents[3]
MODEL = {file.relative_to(STARTER_FOLDER).as_posix(): file.read_bytes() for file in STARTER_FOLDER.rglob("*") if file.is_file()}
SECRET = "hf_canary0123456789"


def ask(workspace: Workspace, source: str = "someone/tiny", press: str | None = None) -> Job:
    return actions.start_download(DownloadConfig(source=source), workspace, press)


@pytest.fixture
def worker(desk: Desk) -> Worker:
    return Worker(desk, DOWNLOADS)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A hub on this machine that the environment names, as for a mirror."""
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with file_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.origin)
        running.put_repository("someone/tiny", MODEL)
        yield running


def test_a_lane_does_its_own_jobs_and_no_others(
    worker: Worker, workspace: Workspace, settings: Callable[..., TrainConfig]
) -> None:
    run, fetched = actions.start_training(settings(), workspace), ask(workspace)
    assert [job.id for job in work_all(worker)] == [fetched.id] and worker.desk.store.get(fetched.id).state == "done"
    assert worker.desk.store.get(run.id).state == "queued"
    assert [job.kind for job in work_all(Worker(worker.desk))] == ["train"]


def test_what_cannot_be_fetched_is_not_queued(workspace: Workspace) -> None:
    for source in (
        "",
        "nothing",
        "http://evil.example/x.safetensors",
        "https://civitai.com/api/download/models/1?token=abcdefgh",
    ):
        with pytest.raises(EngineError) as told:
            ask(workspace, source)
        assert told.value.values["field"] == "source"
    assert open_store(workspace.database).list() == []


def test_one_thing_is_fetched_once(workspace: Workspace, worker: Worker) -> None:
    first = ask(workspace, "someone/tiny", "p")
    assert ask(workspace, " https://huggingface.co/someone/tiny ") == first
    assert first.config == {"version": 1, "source": "someone/tiny"} and first.name == "someone/tiny"
    work_all(worker)
    assert ask(workspace, "someone/tiny", "p").id == first.id, "the same press"
    assert ask(workspace).id != first.id


def test_stopped_failed_and_given_back(workspace: Workspace, worker: Worker) -> None:
    slow, crash = ask(workspace, "someone/slow"), ask(workspace, "someone/crash")
    worker.desk.tell = lambda job, progress: actions.cancel(slow, workspace) and None
    work_all(worker)
    store = worker.desk.store
    assert store.get(slow.id).state == "cancelled" and store.get(crash.id).state == "failed"
    again = ask(workspace, "someone/slow")
    claimed = worker.claim()
    assert claimed
    worker.desk.mailbox.stop()
    worker.work(claimed)
    assert store.get(again.id) == again, "it goes on when the program is started again"


def test_the_real_thing_leaves_the_token_out_of_rows_and_logs(
    server: FileServer, workspace: Workspace, desk: Desk, capfd: pytest.CaptureFixture
) -> None:
    save_token("huggingface", SECRET, workspace)
    server.put("/someone/tiny/resolve/main/x.safetensors", b"", status=403, headers={"X-Error-Code": "GatedRepo"})
    desk.runners = RUNNERS
    told: list[dict] = []
    desk.tell = lambda job, progress: told.append(progress)
    done, gated = ask(workspace), ask(workspace, "someone/tiny/x.safetensors")
    work_all(Worker(desk, DOWNLOADS))
    assert desk.store.get(done.id).result == {
        "kind": "folder", "family": "sd1", "name": "tiny", "bytes": sum(map(len, MODEL.values())), "files": len(MODEL),
        "file": "models/checkpoints/tiny", "already": False,
    }  # fmt: skip
    assert [progress["phase"] for progress in told[:2]] == ["looking", "downloading"] and told[1]["plan"]["files"] == len(MODEL)
    assert (desk.store.get(gated.id).error or {})["code"] == "download.gated"
    assert f"Bearer {SECRET}" in {headers.get("authorization") for _, headers in server.asked}
    rows = b"".join(file.read_bytes() for file in workspace.root.glob("jobs.sqlite3*"))
    assert SECRET.encode() not in rows and SECRET not in json.dumps(told) + "".join(capfd.readouterr())


def test_its_worker_is_a_process_of_its_own_without_pytorch(
    server: FileServer, workspace: Workspace, until: Callable[..., object]
) -> None:
    supervisor = Supervisor(workspace, device=DOWNLOADS)
    try:
        job = ask(workspace)
        supervisor.ensure_worker()
        until(lambda: open_store(workspace.database).get(job.id).state == "done")
        maps = Path(f"/proc/{supervisor.holder()['pid']}/maps")
        if maps.exists():
            assert "libtorch" not in maps.read_text()
    finally:
        assert supervisor.stop_workers()


def test_it_ends_when_there_is_nothing_more(workspace: Workspace, desk: Desk) -> None:
    ask(workspace)
    Worker(desk, DOWNLOADS, idle_seconds=0).run()
    assert [job.state for job in desk.store.list()] == ["done"]


def test_both_workers_side_by_side(workspace: Workspace, until: Callable[..., object]) -> None:
    lanes = [CountingSupervisor(workspace), CountingSupervisor(workspace, device=DOWNLOADS)]
    try:
        for lane in lanes:
            lane.ensure_worker()
        until(lambda: all(lane.holder() for lane in lanes))
        assert len({lane.holder()["pid"] for lane in lanes}) == 2
        job = ask(workspace, "someone/slow")
        store = open_store(workspace.database)
        until(lambda: store.get(job.id).state == "running")
        actions.cancel(job, workspace)
        until(lambda: store.get(job.id).state == "cancelled")
    finally:
        for lane in lanes:
            lane.stop_workers()


def test_from_the_command_line(server: FileServer, workspace: Workspace) -> None:
    def call(*words: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "engine", "model", "download", *words, "--data-dir", str(workspace.root)]
        done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    code, out, _ = call("someone/tiny")
    assert code == 0 and out.splitlines()[-1] == str(workspace.root / "models" / "checkpoints" / "tiny")
    assert any(line.startswith("downloading  tiny  10 files  ") and "MB/s" in line for line in out.splitlines())
    code, out, _ = call("someone/tiny", "--json")
    assert code == 0 and json.loads(out[out.index("{") :])["already"]
    code, _, err = call("https://evil.example/x.safetensors")
    assert code == 2 and "evil.example" in err
