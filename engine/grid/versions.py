"""The saved versions of a run: its checkpoints along the way, and the finished LoRA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError
from engine.jobs import run_folder
from engine.jobs.events import EventLog, fold
from engine.jobs.store import open_store
from engine.workspace import Workspace, safe_join


@dataclass(frozen=True)
class Version:
    """An adapter as it was after `step` steps, in the round `epoch` through the pictures.

    Attributes:
        shared: it lies in the LoRA folder, so that its name in a prompt means the same everywhere.
    """

    epoch: int
    step: int
    file: Path
    shared: bool = False

    @property
    def label(self) -> str:
        return f"epoch {self.epoch} / step {self.step}"


@dataclass(frozen=True)
class Run:
    """A training run as a grid sees it."""

    name: str
    versions: tuple[Version, ...]


def read_run(id: str, workspace: Workspace) -> Run:
    """A run and those of its versions that are still there, by step. The finished LoRA stands for the last one.

    Args:
        id: of its job.

    Raises:
        EngineError: `job.unknown`, `run.no_folder`, with `values["field"]` "run".
    """
    try:
        job = open_store(workspace.database).get(id.strip())
        folder = run_folder.locate(workspace, job)
    except EngineError as error:
        error.values["field"] = "run"
        raise
    view = fold(EventLog(folder).read())
    versions = [_version(saved, folder) for saved in view.checkpoints]
    if view.done:
        epoch = -(-view.step // (view.started.get("steps_per_epoch") or 1))
        versions.append(_version({**view.done, "epoch": epoch}, workspace.loras, shared=True))
    found = {version.step: version for version in versions if version}
    return Run(job.name, tuple(version for _, version in sorted(found.items())))


def _version(told: dict, folder: Path, shared: bool = False) -> Version | None:
    """What an event of a run's log tells of a file, if that is there. A log is input like any other."""
    epoch, step, file = told.get("epoch"), told.get("step"), told.get("file")
    if not (isinstance(epoch, int) and isinstance(step, int) and isinstance(file, str)):
        return None
    path = safe_join(folder, file)
    return Version(epoch, step, path, shared) if path.is_file() else None
