"""What a run like the one planned has learnt with: layers, parameters and bytes, from the log of an earlier run.

How many numbers learn follows from the tensors that an algorithm makes for each layer, which needs PyTorch. The page has none,
so the first run of a kind counts, and every later plan with the same model and adapter settings knows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.jobs.job import Job
from engine.workspace import Workspace, safe_join
from webui.widgets.runs import RunReader

LOOKED_AT = 30
"""Most recent runs."""
NO_MATTER = ("start_from", "module_dropout", "rank_dropout", "dropout", "max_norm")
"""Adapter settings that change no count."""


@dataclass(frozen=True)
class Counted:
    """Attributes:
    modules, parameters: per component.
    size: of a saved version in bytes; 0 when there is none in the planned number format.
    """

    modules: dict[str, int]
    parameters: dict[str, int]
    size: int


def counted(config: TrainConfig, runs: Iterable[Job], reader: RunReader, workspace: Workspace) -> Counted | None:
    """The counts of the first of `runs` that trains what `config` would train, None where there is none."""
    wanted = _make(config.model_dump(mode="json"))
    for run in runs:
        view = reader.view(run) if _make(run.config) == wanted else None
        modules, parameters = (view.started.get(name) if view else None for name in ("modules", "parameters"))
        if view and isinstance(modules, dict) and isinstance(parameters, dict):
            same_format = run.config["output"]["precision"] == config.output.precision
            file = str(view.checkpoints[-1]["file"]) if view.checkpoints and same_format else ""
            return Counted(modules, parameters, _size(workspace, run, file))
    return None


def _make(config: dict) -> tuple:
    """What the counts depend on."""
    adapter = {name: value for name, value in config.get("adapter", {}).items() if name not in NO_MATTER}
    return config.get("model", {}).get("path"), adapter


def _size(workspace: Workspace, run: Job, file: str) -> int:
    try:
        return safe_join(workspace.root / (run.folder or ""), file).stat().st_size if file else 0
    except (OSError, EngineError):
        return 0
