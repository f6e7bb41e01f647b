"""A grid on the page from its row and its folder: on the way, ended, one picture of it, and the suggestion taken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from engine.config.grid import GridConfig
from engine.config.train import TrainConfig
from engine.grid.plan import Line, Place
from engine.grid.record import GridRecord, MadeCell, save_record
from engine.grid.suggest import GroupScore, Scores
from engine.jobs import run_folder
from engine.jobs.events import EventLog
from engine.jobs.generating import ResultPicture
from engine.jobs.store import open_store
from engine.training.events import Checkpoint
from engine.workspace import Workspace
from webui.context import Context
from webui.i18n import t
from webui.widgets.grid_panel import GridPanel


@pytest.fixture
def context(tmp_path: Path) -> Context:
    workspace = Workspace(tmp_path / "data").prepare()
    return Context(workspace, open_store(workspace.database))


@pytest.fixture
def panel(context: Context) -> GridPanel:
    with gr.Blocks():
        panel = GridPanel(context)
        panel.place()
    return panel


@pytest.fixture
def grid(context: Context) -> str:
    """The id of a grid at work: one picture of two, scored, of a run with one version."""
    workspace = context.workspace
    config = TrainConfig.model_validate({"output": {"name": "gull"}})
    folder = workspace.root / run_folder.create(workspace, "gull", config)
    (folder / "checkpoints" / "gull-step00000004.safetensors").write_bytes(b"version")
    EventLog(folder).append(Checkpoint(4, 1, "checkpoints/gull-step00000004.safetensors").to_dict())
    run = context.jobs.add("train", config.model_dump(mode="json"), "gull", folder=folder.relative_to(workspace.root).as_posix())
    place = workspace.outputs / "grid"
    place.mkdir()
    Image.new("RGB", (8, 8)).save(place / "1.png")
    picture = ResultPicture(place / "1.png", 7, "a <b>cat\nSteps: 3, Seed: 7", False, [], [])
    lines = {"x": Line("strength", "0.5, 1", ("0.5", "1")), "y": Line("none", "", ("",)), "z": Line("none", "", ("",))}
    scores = Scores((GroupScore({"x": 1}, "gull-step00000004", 4, "epoch 1 / step 4", 1, 1, 1, 0.5, None, 0.5),), "", 3)
    save_record(GridRecord(place, ("a cat",), lines, 2, [MadeCell((Place(0, 0, 0, 0),), (picture,))], scores))
    job = context.jobs.add("grid", GridConfig(run=run.id).model_dump(mode="json"), "a cat")
    context.jobs.claim("w", ("grid",))
    context.jobs.progress(job.id, {"phase": "grid", "done": 1, "total": 2, "seconds_left": 5, "folder": "outputs/grid"})
    return job.id


def shown(panel: GridPanel, updates: list[Any]) -> dict[str, Any]:
    names = ("job", "seen", "timer", "status", "stop", "view", "shortlist", "notice")
    return dict(zip(names, updates, strict=True))


def test_a_grid_grows_and_what_stands_there_is_left_alone(panel: GridPanel, grid: str) -> None:
    now = shown(panel, panel.look(grid, "en"))
    assert now["timer"].active and now["stop"]["visible"] and now["view"].count("<img") == 1 and "waiting" in now["view"]
    assert t("text.grid.progress_left", "en", done=1, total=2, left="5 s") in now["status"]
    again = shown(panel, panel.look(grid, "en", now["seen"]))
    assert again["view"] == gr.skip() == again["shortlist"] and again["seen"] == now["seen"]


def test_a_grid_that_ended(panel: GridPanel, grid: str, context: Context) -> None:
    context.jobs.finish(grid, "cancelled", result={"folder": "outputs/grid", "sheet": "", "pictures": []})
    Image.new("RGB", (8, 8)).save(context.workspace.outputs / "grid" / "sheet.png")
    now = shown(panel, panel.look(grid, "en"))
    assert not now["timer"].active and not now["stop"]["visible"] and "waiting" not in now["view"]
    assert t("text.grid.stopped", "en", made=1, total=2) in now["status"] and "grid/sheet.png" in now["status"]
    assert shown(panel, panel.load(None))["job"] == grid  # type: ignore[arg-type]


def test_a_row_that_names_another_folder_shows_nothing(panel: GridPanel, grid: str, context: Context) -> None:
    context.jobs.progress(grid, {"folder": "../.."})
    assert shown(panel, panel.look(grid, "en"))["view"] == "" and shown(panel, panel.look("none", "en"))["job"] == ""


def chosen(panel: GridPanel, grid: str, cell: str) -> list[Any]:
    event: Any = SimpleNamespace(_data={"cell": cell})
    return panel._choose(None, event, grid)[len(panel.shown) :]  # type: ignore[arg-type]


def test_a_cell_shows_its_picture_and_parameters(panel: GridPanel, grid: str) -> None:
    key, name, detail, picture, use, parameters = chosen(panel, grid, "0-0-0-0-0")
    assert (key, name, detail["visible"], use["visible"]) == ("0-0-0-0-0", "grid/1.png", True, True)
    assert "grid/1.png" in picture and parameters["value"].startswith("a <b>cat")
    assert chosen(panel, grid, "0-0-0-1-0")[:2] == ["", ""]


def test_the_suggestion_is_copied_and_called(panel: GridPanel, grid: str, context: Context) -> None:
    prompt, notice = panel.use_best(None, grid, "a dog <lora:gull:0.4>")  # type: ignore[arg-type]
    assert prompt == "a dog <lora:gull-step00000004:1>" and notice["visible"]
    assert (context.workspace.loras / "gull-step00000004.safetensors").read_bytes() == b"version"
    assert panel.use_best(None, grid, "")[0] == "a cat <lora:gull-step00000004:1>"  # type: ignore[arg-type]


def test_a_guest_copies_nothing(panel: GridPanel, grid: str, context: Context) -> None:
    panel.context = Context(context.workspace, context.jobs, guest="guest")
    request: Any = SimpleNamespace(username="guest", headers={}, cookies={})
    prompt, notice = panel.use_best(request, grid, "a dog")
    assert prompt == gr.skip() and notice["visible"] and not list(context.workspace.loras.glob("*"))
