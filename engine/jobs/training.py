"""Works on a train job: drives the trainer's generator, writes its log, and lets others in between two steps.

Knows no screen. What is computed is the trainer's affair.
"""

from __future__ import annotations

import gc

from engine.config.choices import ModelChoice
from engine.errors import EngineError, JobError
from engine.jobs import run_folder
from engine.jobs.desk import Desk, ProgressNote, as_engine_error, disk_is_full, trace
from engine.jobs.events import EventLog, RunView, take
from engine.jobs.generating import make_pictures
from engine.jobs.job import Job
from engine.jobs.runners import Trainer
from engine.jobs.tooling import use_tool
from engine.library import choose
from engine.training.events import Done, Started, Stopped


def train(desk: Desk, job: Job) -> None:
    """Work on a claimed run until it is done, stopped or has failed. Raises nothing that a run can cause."""
    try:
        folder = run_folder.locate(desk.workspace, job)
    except EngineError as error:
        return desk.finish(job, "failed", error)
    run_folder.sweep(folder)
    log = EventLog(folder, job.attempt)
    try:
        run_folder.note(folder, f"Attempt {job.attempt} begins.")
        config = run_folder.read_config(folder)
        trainer = desk.runners["train"](config, folder, desk.workspace)
        last = _drive(desk, job, trainer, log)
        run_folder.note(folder, f"Attempt {job.attempt}: {last['type']} after step {last['step']}.")
        if last["type"] == Done.type:
            desk.finish(job, "done", result={"file": last["file"], "step": last["step"], "seconds": last["seconds"]})
        else:
            cancelled = desk.store.get(job.id).request == "cancel"
            desk.finish(job, "cancelled" if cancelled else "paused", result={"step": last["step"]})
    except Exception as error:
        _settle(desk, job, log, error)
    gc.collect()  # the trainer and its model are in reference cycles; the next job needs their memory


def _drive(desk: Desk, job: Job, trainer: Trainer, log: EventLog) -> dict:
    """Run to the end. Returns the last event, which is `done` or `stopped`."""
    note, view = ProgressNote(desk, job), RunView()
    elsewhere: set[str] = set()
    asked = in_training = False
    data: dict = {}
    for event in trainer.run():
        data = event.to_dict()
        log.append(data)
        phase = view.phase
        take(view, {**data, "attempt": job.attempt})
        note.write(progress_of(view), now=view.phase != phase or isinstance(event, Done | Stopped))
        if not asked and desk.request(job):
            asked = True
            trainer.stop()
        if in_training and not asked and not isinstance(event, Done | Stopped):
            serve_one(desk, job, trainer, elsewhere)
            if waiting := desk.store.claim(desk.worker, ("tool",)):
                use_tool(desk, waiting)
        in_training = in_training or isinstance(event, Started)
    if data.get("type") not in (Done.type, Stopped.type):
        raise RuntimeError("the trainer ended without saying how")
    return data


def progress_of(view: RunView) -> dict:
    """The note of a run in its job row."""
    return {
        "phase": view.phase, "done": view.phase_done, "total": view.phase_total, "step": view.step, "steps": view.steps,
        "loss": view.losses[-1][1] if view.losses else None, "seconds_left": view.seconds_left,
    }  # fmt: skip


def serve_one(desk: Desk, run: Job, trainer: Trainer, elsewhere: set[str]) -> None:
    """Make the pictures of one waiting job, if there is one for this base model; tell the others what they wait for.

    Args:
        elsewhere: ids of jobs known to wait for the end: grids, and those that need another base; filled here.
    """
    waiting = desk.store.list(limit=-1, states=("queued",), kinds=("generate", "grid"))
    for job in reversed(waiting):
        if job.id in elsewhere:
            continue
        if job.kind == "generate" and _same_base(desk, job, run, trainer):
            claimed = desk.store.claim(desk.worker, ("generate",), only=job.id)
            if claimed:
                return make_pictures(desk, claimed, trainer)
        else:
            elsewhere.add(job.id)
            desk.store.progress(job.id, {"phase": "waiting", "waiting": run.id, "run": run.name})


def _same_base(desk: Desk, job: Job, run: Job, trainer: Trainer) -> bool:
    told = job.config
    live_run = told.get("live_run")
    choice = ModelChoice(told.get("model", ""), told.get("vae", ""), tuple(told.get("text_encoders", ())))
    if live_run or choice == trainer.choice:
        return live_run in ("", run.id)
    try:
        wanted, here = choose(choice, desk.workspace), choose(trainer.choice, desk.workspace)
        return bool(wanted.family) and wanted == here
    except EngineError:
        return False


def _settle(desk: Desk, job: Job, log: EventLog, error: Exception) -> None:
    """End a run that failed. A full disk only pauses it; nothing but the row may be writable then."""
    shown = as_engine_error(error)
    try:
        run_folder.note(log.path.parent, trace(error) or str(shown))
        log.append({**shown.to_dict(), "type": "error"})
    except OSError as problem:
        if not disk_is_full(problem):
            shown = JobError("unexpected", f"{shown.what} The log could not be written: {problem}.")
    desk.finish(job, "paused" if disk_is_full(error) else "failed", shown)
