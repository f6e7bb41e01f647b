"""The verbs: checked before they act, the same when pressed twice."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.errors import ConfigError, EngineError
from engine.fitting import DeviceProfile, write_profile
from engine.jobs import actions, run_folder
from engine.jobs.desk import Desk
from engine.jobs.store import open_store
from engine.jobs.worker import Worker
from engine.workspace import Workspace

Settings = Callable[..., TrainConfig]


def test_a_start_makes_a_row_and_a_folder(workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace, "press")
    assert (job.kind, job.state, job.name, job.attempt) == ("train", "queued", "my-mascot", 1)
    folder = run_folder.locate(workspace, job)
    assert run_folder.read_config(folder).model_dump(mode="json") == job.config
    assert folder.name.startswith(job.id)


def test_start_pressed_twice_is_one_run(workspace: Workspace, settings: Settings) -> None:
    first = actions.start_training(settings(), workspace, "press")
    assert actions.start_training(settings(), workspace, "press") == first
    assert len(list(workspace.runs.iterdir())) == 1


def test_start_pressed_from_many_tabs_at_once(workspace: Workspace, settings: Settings) -> None:
    """The same press gives one run; different presses with one name give one run and clear refusals."""
    results: list[object] = []

    def press(press_id: str) -> None:
        try:
            results.append(actions.start_training(settings(), workspace, press_id).id)
        except ConfigError as error:
            results.append(error.code)

    threads = [threading.Thread(target=press, args=[name]) for name in ("a", "a", "a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = open_store(workspace.database).list()
    assert len(runs) == 1
    assert set(results) <= {runs[0].id, "output.name_taken"} and len(results) == 5
    assert [entry.name for entry in workspace.runs.iterdir()] == [Path(runs[0].folder or "").name]


def test_a_taken_name_is_refused_with_a_free_one(workspace: Workspace, settings: Settings) -> None:
    actions.start_training(settings(), workspace)
    (workspace.loras / "My-Mascot-V2.safetensors").touch()
    with pytest.raises(ConfigError) as refused:
        actions.start_training(settings(**{"output.name": " MY-mascot "}), workspace)
    assert refused.value.code == "output.name_taken"
    assert refused.value.values["field"] == "output.name"
    free = refused.value.values["suggestion"]
    assert free == "MY-mascot-v3"
    assert actions.start_training(settings(**{"output.name": free}), workspace).name == free


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"output.name": "a/b"}, "output.name"),
        ({"output.name": ""}, "output.name"),
        ({"dataset.folder": ""}, "dataset.folder"),
        ({"dataset.folder": "nix"}, "dataset.folder"),
        ({"model.path": "nix.safetensors"}, "model.path"),
    ],
)
def test_what_cannot_run_leaves_nothing(workspace: Workspace, settings: Settings, changes: dict, field: str) -> None:
    with pytest.raises(EngineError) as refused:
        actions.start_training(settings(**changes), workspace)
    assert refused.value.values["field"] == field
    assert list(workspace.runs.iterdir()) == [] and open_store(workspace.database).list() == []


def test_a_path_typed_here_is_found_from_elsewhere(
    workspace: Workspace, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = workspace.dataset_folder("practice/mascot")
    shutil.copytree(shipped, workspace.root / "datasets" / "mine too")
    monkeypatch.chdir(shipped.parent)
    typed = {"practice/mascot": "practice/mascot", "mine too": "mine too", "mascot": str(shipped), "./mascot": str(shipped)}
    for number, (folder, kept) in enumerate(typed.items()):
        job = actions.start_training(settings(**{"dataset.folder": folder, "output.name": f"n{number}"}), workspace)
        assert job.config["dataset"]["folder"] == kept


def test_pictures(workspace: Workspace, desk: Desk) -> None:
    job = actions.start_generation(GenerateConfig(prompt="a\n cat", seed=7), workspace, "press")
    assert actions.start_generation(GenerateConfig(prompt="a cat"), workspace, "press") == job
    assert job.name == "a cat" and actions.pictures(job, workspace) == []
    worker = Worker(desk)
    claimed = worker.claim()
    assert claimed
    worker.work(claimed)
    (picture,) = actions.pictures(desk.store.get(job.id), workspace)
    assert picture.file.parent.parent == workspace.outputs and picture.seed == 7 and picture.file.is_file()
    picture.file.unlink()
    assert actions.pictures(desk.store.get(job.id), workspace) == []


def test_pictures_that_cannot_be_made_are_refused(workspace: Workspace, settings: Settings) -> None:
    with pytest.raises(EngineError) as refused:
        actions.start_generation(GenerateConfig(model="nix.safetensors"), workspace)
    assert refused.value.code == "model.not_found"
    write_profile(DeviceProfile("mps", "M3"), workspace.root / "config")
    with pytest.raises(EngineError) as refused:
        actions.start_generation(GenerateConfig(precision="bfloat16"), workspace)
    assert (refused.value.code, refused.value.values["field"]) == ("device.unsupported", "precision")
    run = actions.start_training(settings(), workspace)
    with pytest.raises(EngineError) as refused:
        actions.start_generation(GenerateConfig(live_run=run.id), workspace)
    assert refused.value.code == "run.not_live"
    assert len(open_store(workspace.database).list()) == 1


def test_stop_resume_cancel_of_a_waiting_run(workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace)
    assert actions.stop(job, workspace).state == "paused"
    assert actions.resume(job, workspace).state == "queued"
    assert actions.resume(job, workspace).attempt == 2
    assert actions.cancel(job, workspace).state == "cancelled"
    with pytest.raises(EngineError):
        actions.resume(job, workspace)


def test_resume_looks_at_the_folder_again(workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace)
    actions.stop(job, workspace)
    file = run_folder.locate(workspace, job) / "config.yaml"
    file.write_text(file.read_text().replace("max_steps: 3", "max_steps: many"))
    with pytest.raises(ConfigError) as refused:
        actions.resume(job, workspace)
    assert refused.value.values["field"] == "training.max_steps"
    assert open_store(workspace.database).get(job.id).state == "paused"


def test_resume_of_a_run_whose_process_died_unnoticed(workspace: Workspace, settings: Settings) -> None:
    job = actions.start_training(settings(), workspace)
    open_store(workspace.database).claim("1:0.0", ("train",))
    assert actions.resume(job, workspace).attempt == 2
