"""The queue: each job once, each press once, each name once, whatever races."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from engine.errors import ConfigError, JobError
from engine.jobs.job import STATES, Job
from engine.jobs.store import JobStore, new_id

ROOT = Path(__file__).parents[3]
CLAIMER = """
import sys
from pathlib import Path
from engine.jobs.store import JobStore
store = JobStore(Path(sys.argv[1]))
sys.stdin.readline()
for _ in range(50):
    job = store.claim("worker", ("generate",))
    print(job.id if job else "none")
    if job:
        store.progress(job.id, {"done": 1})
        store.finish(job.id, "done")
"""
PRESSER = """
import sys
from pathlib import Path
from engine.jobs.store import JobStore
sys.stdin.readline()
store = JobStore(Path(sys.argv[1]))
print(*[store.add("generate", {}, "x", f"press-{i}").id for i in range(20)])
"""


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.sqlite3")


def race(code: str, database: Path, processes: int) -> list[str]:
    """Run the code in several processes at the same moment; what each printed."""
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(database)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for _ in range(processes)
    ]
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    printed = [racer.communicate()[0] for racer in racers]
    assert all(racer.returncode == 0 for racer in racers)
    return printed


def test_eight_processes_claim_each_job_exactly_once(store: JobStore) -> None:
    made = [store.add("generate", {}, str(i)).id for i in range(390)]
    claimed = [id for printed in race(CLAIMER, store.database, 8) for id in printed.split()]
    assert claimed.count("none") == 10
    assert Counter(id for id in claimed if id != "none") == Counter(made)
    assert all(job.state == "done" and job.progress == {"done": 1} for job in store.list(limit=-1))


def test_one_press_makes_one_job_also_from_eight_processes_on_a_new_database(tmp_path: Path) -> None:
    printed = race(PRESSER, tmp_path / "jobs.sqlite3", 8)
    assert len(set(printed)) == 1 and len(set(printed[0].split())) == 20
    assert len(JobStore(tmp_path / "jobs.sqlite3").list()) == 20


def test_threads_share_a_store(store: JobStore) -> None:
    for i in range(40):
        store.add("train", {}, str(i))
    claimed: list[Job | None] = []
    threads = [threading.Thread(target=lambda: claimed.extend(store.claim("w", ("train",)) for _ in range(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.id for job in claimed if job}) == 40


def test_jobs_come_in_the_order_they_were_added_and_listed_newest_first(store: JobStore) -> None:
    made = [store.add("generate", {"n": i}, str(i)) for i in range(5)]
    assert [job.id for job in store.list()] == [job.id for job in reversed(made)]
    assert store.list(limit=2)[0].config == {"n": 4}
    assert [job.id for job in made] == [job.id for job in (store.claim("w", ("generate",)) for _ in made) if job]
    assert [job.name for job in store.list(states=("running",), kinds=("generate",))] == ["4", "3", "2", "1", "0"]
    assert store.list(states=("queued",)) == [] and store.list(kinds=("train",)) == []


def test_a_name_belongs_to_one_live_run(store: JobStore) -> None:
    first = store.add("train", {}, "Mascot")
    store.add("generate", {}, "mascot")
    with pytest.raises(ConfigError) as refused:
        store.add("train", {}, "mascot")
    assert refused.value.code == "output.name_taken" and refused.value.values["field"] == "output.name"
    store.claim("w", ("train",))
    store.finish(first.id, "failed", {"code": "x", "what": "x"})
    second = store.add("train", {}, "mascot")
    with pytest.raises(ConfigError):
        store.requeue(first.id)
    store.ask(second.id, "cancel")
    assert store.requeue(first.id).state == "queued"


def test_asking(store: JobStore) -> None:
    waiting, working, pictures = store.add("train", {}, "a"), store.add("train", {}, "b"), store.add("generate", {}, "c")
    assert store.ask(waiting.id, "stop").state == "paused", "it never began, and keeps its place"
    assert store.ask(pictures.id, "stop").state == "cancelled"
    store.claim("w", ("train",))
    asked = store.ask(working.id, "stop")
    assert (asked.state, asked.request) == ("pausing", "stop")
    assert store.ask(working.id, "cancel").request == "cancel"
    assert store.ask(working.id, "stop").request == "cancel", "a cancel is not taken back by a late stop"
    store.finish(working.id, "cancelled")
    assert store.ask(working.id, "stop").state == "cancelled", "what has ended stays"
    assert store.ask(waiting.id, "cancel").state == "cancelled"
    with pytest.raises(JobError, match="no job 'nix'"):
        store.ask("nix", "stop")


def test_going_on(store: JobStore) -> None:
    job = store.add("train", {}, "a")
    later = store.add("train", {}, "b")
    store.claim("w", ("train",))
    store.ask(job.id, "stop")
    with pytest.raises(JobError) as refused:
        store.requeue(job.id)
    assert refused.value.code == "job.not_resumable"
    store.finish(job.id, "paused", result={"step": 3})
    again = store.requeue(job.id)
    assert (again.state, again.attempt, again.request, again.error) == ("queued", 2, None, None)
    assert store.requeue(job.id).attempt == 2, "pressed twice"
    claimed = store.claim("w", ("train",))
    assert claimed and claimed.id == job.id, "before what was added later"
    store.finish(job.id, "done")
    for state_job in (job, store.add("generate", {}, "c")):
        with pytest.raises(JobError):
            store.requeue(state_job.id)
    assert store.get(later.id).state == "queued"


def test_given_back_as_if_never_begun(store: JobStore) -> None:
    job = store.add("generate", {}, "a")
    store.claim("w", ("generate",))
    store.progress(job.id, {"done": 3})
    store.give_back(job.id)
    assert store.get(job.id) == job


def test_pictures_of_a_working_run_are_left_to_its_worker(store: JobStore) -> None:
    run = store.add("train", {}, "run")
    store.claim("w", ("train",))
    live = store.add("generate", {"live_run": run.id}, "live")
    other = store.add("generate", {"live_run": ""}, "other")
    claimed = store.claim("w2", ("generate",))
    assert claimed and claimed.id == other.id
    assert store.claim("w2", ("generate",)) is None
    named = store.claim("w", ("generate",), only=live.id)
    assert named and named.worker == "w"
    assert store.claim("w", ("generate",), only=live.id) is None, "once"


def test_what_dead_workers_left(store: JobStore) -> None:
    names = ("lost", "alive", "leaving")
    lost, alive, leaving = (store.add("train", {}, name) for name in names)
    pictures = store.add("generate", {}, "pictures")
    for worker in ("dead", "living", "dead"):
        store.claim(worker, ("train",))
    store.claim("dead", ("generate",))
    store.ask(leaving.id, "cancel")
    settled = store.reap(lambda worker: worker == "living")
    assert {job.name for job in settled} == {"lost", "leaving", "pictures"}
    states = [store.get(job.id).state for job in (lost, alive, leaving, pictures)]
    assert states == ["lost", "running", "cancelled", "failed"]
    assert (store.get(pictures.id).error or {})["code"] == "worker.died"
    assert store.reap(lambda worker: worker == "living") == []
    store.finish(lost.id, "done")
    assert store.get(lost.id).state == "done", "it was not dead after all"


def test_a_finished_job_stays_finished(store: JobStore) -> None:
    job = store.add("train", {}, "a")
    store.finish(job.id, "done")
    assert store.get(job.id).state == "queued", "nobody works on it"
    store.claim("w", ("train",))
    store.finish(job.id, "done", result={"file": "a.safetensors"})
    store.finish(job.id, "failed")
    found = store.get(job.id)
    assert found.state == "done" and found.result == {"file": "a.safetensors"} and found.finished


def test_ids_are_unique_and_sort_by_time(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("engine.jobs.store.secrets.token_hex", lambda n: next(drawn))
    monkeypatch.setattr("engine.jobs.store.time.strftime", lambda *_: "20261124-061500")
    assert [store.add("generate", {}, "x").id for _ in range(2)] == ["20261124-061500-aaaa", "20261124-061500-bbbb"]
    monkeypatch.undo()
    assert len({new_id() for _ in range(50)}) > 40


def test_everything_survives_reopening(store: JobStore) -> None:
    job = store.add("train", {"name": "雪"}, "雪だるま", "press", "runs/x")
    store.close()
    assert JobStore(store.database).get(job.id) == job
    assert {job.state} < set(STATES)


def test_a_broken_or_newer_database_is_refused_politely(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"not a database at all" * 100)
    with pytest.raises(JobError) as refused:
        JobStore(broken)
    assert refused.value.code == "jobs.unreadable"
    newer = tmp_path / "newer.sqlite3"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(JobError) as refused:
        JobStore(newer)
    assert refused.value.code == "jobs.too_new"
