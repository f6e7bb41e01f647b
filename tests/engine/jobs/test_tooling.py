"""Tools as jobs: checked before they are queued, worked on between others, ended without a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from engine.config.generate import GenerateConfig
from engine.config.load import nested, validate
from engine.config.tools import ToolConfig
from engine.config.train import TrainConfig
from engine.errors import EngineError
from engine.jobs import actions
from engine.jobs.desk import Desk
from engine.jobs.job import Job
from engine.jobs.worker import Worker
from engine.workspace import Workspace
from tests.engine.jobs.test_worker import At, work_all

Settings = Callable[..., TrainConfig]


@pytest.fixture
def worker(desk: Desk) -> Worker:
    return Worker(desk)


@pytest.fixture
def lora(workspace: Workspace) -> Path:
    file = workspace.loras / "mascot.safetensors"
    module = "lora_unet_mid_block_attentions_0_proj_in"
    save_file(
        {f"{module}.lora_down.weight": np.ones((2, 4), "float32"), f"{module}.lora_up.weight": np.ones((4, 2), "float32")}, file
    )
    return file


def tool(workspace: Workspace, kind: str, name: str = "", press: str | None = None, **options: object) -> Job:
    config = validate(ToolConfig, nested({"tool": {"kind": kind, **options}, "output.name": name}))
    return actions.start_tool(config, workspace, press)


def test_tools_come_after_pictures_and_before_runs(worker: Worker, workspace: Workspace, settings: Settings, lora: Path) -> None:
    run = actions.start_training(settings(), workspace)
    resize = tool(workspace, "resize", "small", file="mascot", rank=1)
    drawn = actions.start_generation(GenerateConfig(prompt="a cat", seed=1), workspace)
    assert [job.id for job in work_all(worker)] == [drawn.id, resize.id, run.id]
    done = worker.desk.store.get(resize.id)
    assert done.state == "done" and done.result == {"file": "small.safetensors", "report": {"counted": 3}}
    assert done.progress and done.progress["phase"] == "resize"


def test_tools_come_in_between_the_steps_of_a_run(worker: Worker, workspace: Workspace, settings: Settings, lora: Path) -> None:
    run = actions.start_training(settings(**{"training.max_steps": 5}), workspace)
    asked: list[Job] = []
    At(worker.desk, 2, lambda: asked.append(tool(workspace, "resize", "small", file="mascot")))
    assert [job.id for job in work_all(worker)] == [run.id]
    assert all(worker.desk.store.get(job.id).state == "done" for job in (run, asked[0]))


def test_cancelled_and_failed_tools_end_alone(worker: Worker, workspace: Workspace, lora: Path) -> None:
    slow, crash = tool(workspace, "resize", "slow", file="mascot"), tool(workspace, "resize", "crash", file="mascot")
    worker.desk.tell = lambda job, progress: actions.cancel(slow, workspace) and None
    work_all(worker)
    assert worker.desk.store.get(slow.id).state == "cancelled"
    failed = worker.desk.store.get(crash.id)
    assert failed.state == "failed" and (failed.error or {})["code"] == "unexpected"


def test_asked_to_end_a_tool_goes_back(worker: Worker, workspace: Workspace, lora: Path) -> None:
    job = tool(workspace, "resize", "slow", file="mascot")
    claimed = worker.claim()
    assert claimed
    worker.desk.mailbox.stop()
    worker.work(claimed)
    assert worker.desk.store.get(job.id) == job


def test_names(workspace: Workspace, lora: Path) -> None:
    first = tool(workspace, "resize", "", file="mascot")
    assert first.name == "mascot-resize" and first.config["output"]["name"] == "mascot-resize"
    assert tool(workspace, "resize", file="mascot").name == "mascot-resize-v2", "one that waits has its name already"
    for name in ("mascot", "MASCOT", "mascot-resize"):
        with pytest.raises(EngineError) as told:
            tool(workspace, "resize", name, file="mascot")
        assert (
            told.value.code == "output.name_taken"
            and told.value.values["suggestion"] == f"{name}-{'v3' if name == 'mascot-resize' else 'v2'}"
        )
    with pytest.raises(EngineError) as told:
        tool(workspace, "resize", "a/b", file="mascot")
    assert told.value.code == "path.bad_name"
    edit = tool(workspace, "edit", file="mascot", title="Mascot")
    assert edit.name == "mascot" and edit.config["output"]["name"] == "", "the file itself is changed"
    (workspace.checkpoint_folders[0] / "baked.safetensors").touch()
    with pytest.raises(EngineError) as told:
        tool(workspace, "bake", "baked", files=["mascot"], model="starter")
    assert told.value.values["suggestion"] == "baked-v2"
    assert tool(workspace, "bake", "mascot", files=["mascot"], model="starter").name == "mascot", "a LoRA is no base model"


def test_a_press_makes_one_job_and_paths_become_absolute(
    workspace: Workspace, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.safetensors").write_bytes(lora.read_bytes())
    Image.new("RGB", (8, 8)).save(tmp_path / "cover.png")
    job = tool(workspace, "merge", press="p", files=["here.safetensors:0.1", "mascot"])
    assert tool(workspace, "merge", press="p", files=["mascot"]) == job
    assert job.config["tool"]["files"] == [f"{tmp_path / 'here.safetensors'}:0.1", f"{lora}:1.0"]
    edit = tool(workspace, "edit", file="here.safetensors", cover="cover.png")
    assert edit.config["tool"]["cover"] == str(tmp_path / "cover.png")
    assert tool(workspace, "bake", files=["mascot"], model="starter").config["tool"]["model"] == "starter"


@pytest.mark.parametrize(
    ("kind", "options", "code", "field"),
    [
        ("resize", {}, "tool.no_file", "tool.file"),
        ("resize", {"file": "nix"}, "prompt.adapter_unknown", "tool.file"),
        ("resize", {"file": "/etc/nix.safetensors"}, "path.not_allowed", "tool.file"),
        ("difference", {"file": "mascot"}, "tool.no_file", "tool.other"),
        ("merge", {"files": []}, "tool.no_file", "tool.files"),
        ("merge", {"files": ["mascot", "nix:2"]}, "prompt.adapter_unknown", "tool.files"),
        ("merge", {"files": ["mascot"], "model": "nix"}, "model.not_found", "tool.model"),
        ("bake", {"files": ["mascot"]}, "model.not_found", "tool.model"),
        ("extract", {"model": "starter"}, "model.not_found", "tool.tuned"),
        ("bundle", {"file": "mascot"}, "tool.no_file", "tool.embeddings"),
        ("bundle", {"file": "mascot", "embeddings": ["nix"]}, "tool.no_embedding", "tool.embeddings"),
        ("edit", {"file": "mascot", "cover": "mascot.safetensors"}, "tool.no_picture", "tool.cover"),
    ],
)
def test_what_cannot_be_carried_out_is_not_queued(
    kind: str, options: dict, code: str, field: str, workspace: Workspace, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.loras)
    with pytest.raises(EngineError) as told:
        tool(workspace, kind, **options)
    assert told.value.code == code and told.value.values["field"] == field
    assert actions.open_store(workspace.database).list() == []
