"""The queue on disk: one SQLite table, safe for many threads and processes. Knows no process, no folder, no torch.

Every change is one transaction. Two rules are the database's own, so that no race can break them: a press of a button
(`press_id`) makes one job, and a name belongs to one live training run.
"""

from __future__ import annotations

import functools
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.errors import ConfigError, EngineError, JobError
from engine.jobs.job import LIVE, RESUMABLE, WORKING, Job, Kind, State

VERSION = 1
BUSY_SECONDS = 30
Jobs = list[Job]

_LIVE_TEXT = ", ".join(f"'{state}'" for state in LIVE)
SCHEMA = f"""
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, press_id TEXT UNIQUE, kind TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    config TEXT NOT NULL, folder TEXT, error TEXT, result TEXT, request TEXT,
    created REAL NOT NULL, started REAL, finished REAL, attempt INTEGER NOT NULL, progress TEXT, worker TEXT
);
CREATE INDEX jobs_by_state ON jobs (state, number);
CREATE UNIQUE INDEX live_name ON jobs (name COLLATE NOCASE) WHERE kind = 'train' AND state IN ({_LIVE_TEXT});
PRAGMA user_version = {VERSION};
"""
FIELDS = tuple(Job.__dataclass_fields__)
_JSON = ("config", "error", "result", "progress")


def new_id() -> str:
    """A job id: UTC time and four random hexadecimal digits."""
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"


@functools.cache
def open_store(database: Path) -> JobStore:
    """The store of a database, one per process."""
    return JobStore(database)


class JobStore:
    """The table, through one connection that the threads of this process share. Not to be carried over a fork.

    Raises:
        JobError: `jobs.unreadable`, `jobs.too_new`, on opening.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._lock = threading.RLock()
        database.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = sqlite3.connect(database, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._connection.row_factory = sqlite3.Row
            _use_wal(self._connection)
            with self._transaction():
                self._prepare()
        except sqlite3.DatabaseError as error:
            raise JobError(
                "jobs.unreadable", f"The job list {database.name} cannot be read: {error}.",
                todo="Move the file away; runs and LoRAs stay in their folders.", path=database, reason=error,
            ) from None  # fmt: skip

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise JobError(
                "jobs.too_new", f"The job list has version {version}.", f"This program reads up to {VERSION}.",
                "Update the program, or choose another --data-dir.", version=version,
            )  # fmt: skip
        if version == 0:
            for statement in SCHEMA.split(";"):
                self._connection.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Several statements as one, with the write lock from the start."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _query(self, statement: str, values: Sequence = ()) -> Jobs:
        """Run one statement; the rows it gives as jobs."""
        with self._lock:
            return [_job(row) for row in self._connection.execute(statement, values).fetchall()]

    # ---- making and looking ----

    def add(
        self, kind: Kind, config: dict, name: str, press_id: str | None = None, folder: str | None = None, id: str | None = None
    ) -> Job:
        """Put a job into the queue. A `press_id` seen before gives the job it made then.

        Raises:
            ConfigError: `output.name_taken` when a live training run has this name.
        """
        while True:
            chosen = id or new_id()
            try:
                return self._query(
                    "INSERT INTO jobs (id, press_id, kind, name, state, config, folder, created, attempt) "
                    "VALUES (?, ?, ?, ?, 'queued', ?, ?, ?, 1) RETURNING *",
                    (chosen, press_id, kind, name, json.dumps(config), folder, time.time()),
                )[0]
            except sqlite3.IntegrityError as error:
                if press_id and (made := self.by_press(press_id)):
                    return made
                if "jobs.name" in str(error):
                    raise name_taken(name) from None
                if id or "jobs.id" not in str(error):
                    raise

    def get(self, id: str) -> Job:
        """Raises JobError: `job.unknown`."""
        found = self._query("SELECT * FROM jobs WHERE id = ?", (id,))
        if not found:
            raise JobError("job.unknown", f"There is no job {id!r}.", todo="`python -m engine jobs list` shows them.", id=id)
        return found[0]

    def by_press(self, press_id: str) -> Job | None:
        """The job that a press of a button made, if it did."""
        return next(iter(self._query("SELECT * FROM jobs WHERE press_id = ?", (press_id,))), None)

    def list(self, limit: int = 100, states: Sequence[str] = (), kinds: Sequence[str] = ()) -> Jobs:
        """Jobs, the newest first, of the given states and kinds (all when empty)."""
        wanted = [("state", states), ("kind", kinds)]
        conditions = [f"{column} IN ({_marks(values)})" for column, values in wanted if values]
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        return self._query(f"SELECT * FROM jobs {where}ORDER BY number DESC LIMIT ?", (*states, *kinds, limit))

    # ---- a worker's verbs ----

    def claim(self, worker: str, kinds: Sequence[Kind], only: str | None = None) -> Job | None:
        """Take the oldest queued job of these kinds, or the one named; None when there is none.

        A generation with the adapter of a run that is working is left to the worker that has the run, unless named.
        """
        free = "id = ?" if only else (
            "coalesce(json_extract(config, '$.live_run'), '') NOT IN "
            f"(SELECT id FROM jobs WHERE state IN ({_marks(WORKING)}))"
        )  # fmt: skip
        return next(iter(self._query(
            "UPDATE jobs SET state = 'running', worker = ?, started = ?, request = NULL, progress = NULL WHERE number = ("
            f"SELECT number FROM jobs WHERE state = 'queued' AND kind IN ({_marks(kinds)}) AND {free} "
            "ORDER BY number LIMIT 1) RETURNING *",
            (worker, time.time(), *kinds, *([only] if only else WORKING)),
        )), None)  # fmt: skip

    def progress(self, id: str, progress: dict) -> None:
        """Say how far a job is, or what it waits for."""
        self._query("UPDATE jobs SET progress = ? WHERE id = ?", (json.dumps(progress), id))

    def finish(self, id: str, state: State, error: dict | None = None, result: dict | None = None) -> None:
        """Write down how a job that was being worked on ended. Also when it had been given up for lost."""
        self._query(
            f"UPDATE jobs SET state = ?, error = ?, result = ?, request = NULL, finished = ? "
            f"WHERE id = ? AND state IN ({_marks(WORKING)}, 'lost')",
            (state, _text(error), _text(result), time.time(), id, *WORKING),
        )

    def give_back(self, id: str) -> None:
        """Put a job that was being worked on back into its place in the queue, as if it had not been begun."""
        self._query(
            f"UPDATE jobs SET state = 'queued', worker = NULL, started = NULL, request = NULL, progress = NULL "
            f"WHERE id = ? AND state IN ({_marks(WORKING)})",
            (id, *WORKING),
        )

    # ---- a user's verbs ----

    def ask(self, id: str, request: str) -> Job:
        """Ask a job to "stop" (save, can be resumed) or to "cancel". What nobody works on ends at once; what has ended stays.

        Raises:
            JobError: `job.unknown`.
        """
        with self._transaction():
            job = self.get(id)
            if job.state in WORKING:
                request = "cancel" if job.request == "cancel" else request
                self._query("UPDATE jobs SET state = 'pausing', request = ? WHERE id = ?", (request, id))
            elif job.state in LIVE:
                pause = request == "stop" and job.kind == "train"
                state = ("paused" if job.state == "queued" else job.state) if pause else "cancelled"
                self._query("UPDATE jobs SET state = ?, finished = ? WHERE id = ?", (state, time.time(), id))
            return self.get(id)

    def skip(self, id: str) -> None:
        """Ask for the rest of the batch at work to be left out."""
        self._query("UPDATE jobs SET request = 'skip' WHERE id = ? AND state = 'running' AND request IS NULL", (id,))

    def skipped(self, id: str) -> None:
        """Note that it was left out."""
        self._query("UPDATE jobs SET request = NULL WHERE id = ? AND request = 'skip'", (id,))

    def requeue(self, id: str) -> Job:
        """Queue a run that stopped, was lost or failed at its old place, as the next attempt. One that is queued stays as it is.

        Raises:
            JobError: `job.unknown`, `job.not_resumable`.
            ConfigError: `output.name_taken` when another run has its name by now.
        """
        with self._transaction():
            job = self.get(id)
            if job.kind == "train" and job.state in ("queued", "running"):
                return job
            if job.kind != "train" or job.state not in RESUMABLE:
                raise JobError(
                    "job.not_resumable", f"The job {job.name!r} is {job.state} and cannot go on.",
                    "A training run that is paused, lost or failed.",
                    "Wait until it has saved." if job.state == "pausing" else "Start a new one.", id=id, state=job.state,
                )  # fmt: skip
            try:
                return self._query(
                    "UPDATE jobs SET state = 'queued', attempt = attempt + 1, worker = NULL, request = NULL, error = NULL, "
                    "finished = NULL, progress = NULL WHERE id = ? RETURNING *",
                    (id,),
                )[0]
            except sqlite3.IntegrityError:
                raise name_taken(job.name) from None

    def reap(self, lives: Callable[[str], bool]) -> Jobs:
        """Settle what dead workers left: training is `lost` (it can be resumed), pictures have failed.

        Args:
            lives: whether the process with this identity still runs.
        """
        settled = []
        for job in self.list(limit=-1, states=WORKING):
            if job.worker and lives(job.worker):
                continue
            state = "cancelled" if job.request == "cancel" else "lost" if job.kind == "train" else "failed"
            settled += self._query(
                f"UPDATE jobs SET state = ?, error = ?, request = NULL, finished = ? "
                f"WHERE id = ? AND worker IS ? AND state IN ({_marks(WORKING)}) RETURNING *",
                (state, _text(_worker_died(job).to_dict()), time.time(), job.id, job.worker, *WORKING),
            )
        return settled

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def name_taken(name: str, suggestion: str = "") -> ConfigError:
    """The error for a name in use; the suggestion, if given, is free."""
    return ConfigError(
        "output.name_taken", f"output.name: the name {name!r} is taken.", "A name that no LoRA and no other run has.",
        f"Call it {suggestion}, for example." if suggestion else "Choose another name.",
        field="output.name", name=name, suggestion=suggestion,
    )  # fmt: skip


def _worker_died(job: Job) -> EngineError:
    if job.kind == "train":
        todo = "Resume it: it goes on from the last saved state."
    else:
        todo = "Try again." + (" If it happens again, make the picture smaller." if job.kind in ("generate", "grid") else "")
    return JobError("worker.died", "The process that worked on it has ended unexpectedly.", todo=todo, id=job.id)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers and a writer side by side. Changing the mode ignores the busy timeout, so it is tried for a while."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _marks(values: Sequence) -> str:
    return ", ".join("?" * len(values))


def _text(value: dict | None) -> str | None:
    return None if value is None else json.dumps(value)


def _job(row: sqlite3.Row) -> Job:
    values = {name: row[name] for name in FIELDS}
    for name in _JSON:
        values[name] = json.loads(values[name]) if values[name] else None
    return Job(**values)
