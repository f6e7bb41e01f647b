"""Look after the queue: list jobs, show one, or ask one to end."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict

from engine.cli.common import workspace_of
from engine.cli.foreground import describe
from engine.jobs import actions
from engine.jobs.job import WORKING, Job
from engine.jobs.process import lives
from engine.jobs.store import open_store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["list", "show", "cancel"], help="what to do")
    parser.add_argument("id", metavar="ID", nargs="?", help="the job, for show and cancel")
    parser.add_argument("--limit", type=int, default=20, help="list so many, the newest first; default: 20")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    workspace = workspace_of(options).prepare()
    store = open_store(workspace.database)
    store.reap(lives)
    if options.action == "list":
        jobs = store.list(limit=options.limit)
        print(json.dumps([asdict(job) for job in jobs], ensure_ascii=False, indent=1) if options.json else table(jobs))
        return 0
    job = store.get(options.id or "")
    if options.action == "cancel":
        job = actions.cancel(job, workspace)
    print(json.dumps(asdict(job), ensure_ascii=False, indent=1) if options.json or options.action == "show" else table([job]))
    return 0


def table(jobs: list[Job]) -> str:
    """A line a job."""
    return "\n".join(line(job) for job in jobs) or "There are no jobs."


def line(job: Job) -> str:
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    working = describe(job.progress) if job.progress and job.state in (*WORKING, "queued") else ""
    return f"{job.id}  {made}  {job.kind:<8}  {job.state:<9}  {job.name}  {working}".rstrip()
