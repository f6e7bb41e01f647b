"""Run folders: made whole, found only where they may lie, read with suspicion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.train import TrainConfig
from engine.errors import ConfigError, EngineError, PathError
from engine.jobs import run_folder
from engine.jobs.job import Job
from engine.jobs.store import JobStore
from engine.workspace import Workspace

Settings = Callable[..., TrainConfig]


@pytest.fixture
def job(workspace: Workspace, settings: Settings) -> Job:
    folder = run_folder.create(workspace, "20261124-061500-ab12", settings())
    return JobStore(workspace.database).add("train", {}, "my-mascot", folder=folder)


def test_made_found_and_read(workspace: Workspace, job: Job, settings: Settings) -> None:
    folder = run_folder.locate(workspace, job)
    assert folder == workspace.runs / "20261124-061500-ab12-my-mascot"
    assert run_folder.read_config(folder) == settings()
    assert sorted(entry.name for entry in folder.iterdir()) == ["checkpoints", "config.yaml", "samples"]
    assert [entry.name for entry in workspace.runs.iterdir()] == [folder.name], "nothing unfinished is left"


def test_a_failure_while_making_leaves_no_run(workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "save", full)
    with pytest.raises(OSError):
        run_folder.create(workspace, "1", settings())
    assert list(workspace.runs.iterdir()) == []


@pytest.mark.parametrize("place", ["../elsewhere", "/etc", "runs/../../elsewhere"])
def test_a_row_cannot_lead_outside(workspace: Workspace, job: Job, place: str) -> None:
    with pytest.raises(PathError):
        run_folder.locate(workspace, replace(job, folder=place))


@pytest.mark.parametrize("place", ["runs/gone", None, ""])
def test_a_folder_that_is_not_there(workspace: Workspace, job: Job, place: str | None) -> None:
    with pytest.raises(EngineError) as refused:
        run_folder.locate(workspace, replace(job, folder=place))
    assert refused.value.code == "run.no_folder"


def test_settings_on_disk_are_checked_again(workspace: Workspace, job: Job) -> None:
    folder = run_folder.locate(workspace, job)
    file = folder / "config.yaml"
    good = file.read_text()
    file.write_text(good.replace("my-mascot", "../../evil"))
    with pytest.raises(PathError):
        run_folder.read_config(folder)
    file.write_text(good + "surprise: 1\n")
    with pytest.raises(ConfigError):
        run_folder.read_config(folder)
    file.write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError):
        run_folder.read_config(folder)


def test_sweeping_takes_only_what_is_unfinished(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for name in (".config.yaml.x1.tmp", "state/.adapter.safetensors.x2.tmp"):
        (tmp_path / name).touch()
    (tmp_path / "mine.tmp").touch()
    run_folder.sweep(tmp_path)
    assert sorted(file.name for file in tmp_path.rglob("*") if file.is_file()) == ["mine.tmp"]
