"""The folder of a training run: `config.yaml`, `events.jsonl`, `log.txt`, `samples/`, `checkpoints/`, `state/`.

It is input like any other: where a job says it lies is checked, and its config is validated each time.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from engine.config.load import load, save
from engine.config.train import TrainConfig
from engine.errors import JobError
from engine.jobs.events import append_text
from engine.jobs.job import Job
from engine.workspace import Workspace, check_name, safe_join, sync_folder

CONFIG = "config.yaml"
INNER = ("samples", "checkpoints")


def create(workspace: Workspace, id: str, config: TrainConfig) -> str:
    """Make the folder of a new run, whole or not at all. Returns its path relative to the data folder."""
    name = f"{id}-{check_name(config.output.name)}"
    staging = workspace.runs / f".{name}.staging"
    try:
        for inner in INNER:
            (staging / inner).mkdir(parents=True)
        save(config, staging / CONFIG)
        os.replace(staging, workspace.runs / name)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(workspace.runs)
    return f"runs/{name}"


def locate(workspace: Workspace, job: Job) -> Path:
    """Where a run lies.

    Raises:
        JobError: `run.no_folder` when it has gone.
        PathError: `path.outside`.
    """
    folder = safe_join(workspace.root, job.folder or "")
    if not job.folder or not folder.is_dir():
        raise JobError(
            "run.no_folder", f"The folder of the run {job.name!r} is not there.", f"{job.folder} in the data folder.",
            "Put it back, or start a new run.", id=job.id, folder=job.folder,
        )  # fmt: skip
    return folder


def read_config(folder: Path) -> TrainConfig:
    """The settings of a run, validated.

    Raises:
        ConfigError: they cannot be read or are wrong by now.
        PathError: `path.bad_name`.
    """
    config = load(TrainConfig, folder / CONFIG)
    check_name(config.output.name)
    return config


def discard(workspace: Workspace, folder: str) -> None:
    """Remove a run folder that no job came to own."""
    shutil.rmtree(safe_join(workspace.runs, Path(folder).name))


def sweep(folder: Path) -> None:
    """Remove unfinished files that a killed writer left. Only for the one writer of the folder."""
    for left in folder.rglob(".*.tmp"):
        left.unlink(missing_ok=True)


def note(folder: Path, text: str) -> None:
    """Add to the run's `log.txt`, for people."""
    append_text(folder / "log.txt", f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text.rstrip()}\n")
