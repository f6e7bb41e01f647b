"""The form of a grid: how many pictures, what is wrong and where, and what a run fills in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from engine.config.generate import GenerateConfig
from engine.config.train import TrainConfig
from engine.jobs import run_folder
from engine.jobs.events import EventLog
from engine.jobs.job import Job
from engine.jobs.store import open_store
from engine.training.events import Checkpoint, Sample
from engine.workspace import Workspace
from webui.context import Context
from webui.forms import Form
from webui.i18n import t
from webui.widgets.grid_form import COUNTED, GridForm

KEYS = ("prompt", "seed", *COUNTED)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    workspace = Workspace(tmp_path / "data").prepare()
    (workspace.loras / "mascot.safetensors").write_bytes(b"no header is read for its name")
    return Context(workspace, open_store(workspace.database))


@pytest.fixture
def form(context: Context) -> GridForm:
    request = Form("generate", GenerateConfig, "generate.")
    with gr.Blocks():
        for key in KEYS:
            request.place(key)
        form = GridForm(context, request)
        form.place()
        form.listen([], dict, {})
    return form


def given(form: GridForm, grid: dict[str, Any], **request: Any) -> list[Any]:
    return [*form.form.values(grid), *form.request.values(request)]


def looked(form: GridForm, grid: dict[str, Any], **request: Any) -> tuple[str, list[str]]:
    """The line, and the fields at which something is wrong."""
    marked, line, *fields = form._look(None, True, [], *given(form, grid, **request))  # type: ignore[arg-type]  # nobody asks: English
    invalid = [
        key for key, update in zip(form.form.keys, fields, strict=True) if "field-invalid" in update.get("elem_classes", [])
    ]
    assert invalid == marked
    return line, marked


def strengths(values: str, **more: Any) -> dict[str, Any]:
    return {"x": {"kind": "strength", "values": values}, **more}


def test_pictures_are_counted_while_it_is_filled_in(form: GridForm) -> None:
    prompts = ["a cat <lora:mascot:1>", "a dog <lora:mascot:1>"]
    line, marked = looked(form, strengths("0.5, 1", prompts=prompts), prompt="a bird", batch_size=2)
    assert marked == [] and t("text.grid.count", "en", count=12) in line
    line, _ = looked(form, strengths("0.5, 1", adapter="mascot"), prompt="a cat", batch_size=2)
    assert t("text.grid.count", "en", count=6) in line


def test_a_closed_form_asks_nothing(form: GridForm) -> None:
    updates = form._look(None, False, [], *given(form, strengths("much")))  # type: ignore[arg-type]
    assert len(updates) == 2 + len(form.form.inputs) and all(update == gr.skip() for update in updates)


@pytest.mark.parametrize(
    ("grid", "request_", "field", "words"),
    [
        (strengths("much", adapter="mascot"), {}, ["x.values"], "much"),
        (strengths("1", adapter="gone"), {}, ["adapter"], "gone"),
        (strengths("1", adapter="mascot", y={"kind": "strength", "values": "1"}), {}, ["y.kind"], "another axis"),
        (strengths("1", adapter="mascot"), {"steps": 999}, [], "Steps"),
        (strengths("1", run="20990101-000000-0000", y={"kind": "epoch"}), {}, ["run"], "20990101"),
    ],
)
def test_what_is_wrong_stands_at_its_field(form: GridForm, grid: dict, request_: dict, field: list[str], words: str) -> None:
    line, marked = looked(form, grid, **request_)
    assert marked == field and words in line and "note-bad" in line


def test_what_is_not_filled_in_yet_is_only_said(form: GridForm) -> None:
    for grid in (strengths("0-1 [5]"), {"x": {"kind": "epoch"}}, {"x": {"kind": "seed", "values": ""}}):
        line, marked = looked(form, grid, prompt="a cat")
        assert marked == [] and 'class="hint"' in line
    asked = form.ask({}, given(form, strengths("0-1 [5]")), "en")
    assert asked.config and asked.config.x.values == "0-1 [5]"


@pytest.fixture
def run(context: Context) -> Job:
    """A run with a saved version and a sample."""
    workspace = context.workspace
    config = TrainConfig.model_validate({"dataset": {"trigger": "gulla"}, "output": {"name": "gull"}})
    folder = run_folder.create(workspace, "gull", config)
    (workspace.root / folder / "checkpoints" / "gull-step00000004.safetensors").write_bytes(b"")
    log = EventLog(workspace.root / folder)
    log.append(Checkpoint(4, 1, "checkpoints/gull-step00000004.safetensors").to_dict())
    log.append(Sample(4, 1, "gulla,\nflying", 1, "x.png").to_dict())
    log.append(Sample(4, 0, "gulla", 1, "x.png").to_dict())
    return context.jobs.add("train", config.model_dump(mode="json"), "gull", folder=folder)


def test_a_run_fills_the_form(form: GridForm, run: Job) -> None:
    updates = dict(zip(form.form.keys, form.of_run(run), strict=True))
    told = {key: update["value"] for key, update in updates.items()}
    assert (told["run"], told["x.kind"], told["y.kind"], told["z.kind"]) == (run.id, "strength", "epoch", "none")
    assert told["prompts"] == "gulla\ngulla, flying" and told["base_column"] and told["score"]
    assert updates["y.values"]["visible"] and not updates["z.values"]["visible"]
    asked = form.ask({}, [*told.values(), *form.request.values({})], "en")
    assert asked.config and looked(form, asked.config.model_dump())[0].startswith('<p class="forecast"')


def test_a_run_without_samples_is_called_by_its_word(form: GridForm, run: Job, context: Context) -> None:
    EventLog(context.workspace.root / (run.folder or "")).path.unlink()
    assert dict(zip(form.form.keys, form.of_run(run), strict=True))["prompts"]["value"] == "gulla"


def test_runs_and_adapters_to_choose_from(form: GridForm, run: Job, context: Context) -> None:
    context.jobs.add("train", {}, "unsaved", folder="runs/none")
    seen, runs, adapters = form.refresh(None, "")  # type: ignore[arg-type]
    assert [id for _, id in runs["choices"]] == ["", run.id] and adapters["choices"] == ["", "mascot"]
    assert form.refresh(None, seen) == [gr.skip()] * 3  # type: ignore[arg-type]
