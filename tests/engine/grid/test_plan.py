"""From settings to cells, without a model: what each cell asks for, where it stands, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, GridConfig
from engine.errors import EngineError
from engine.grid.axes import AXES
from engine.grid.pace import pace, seconds, work
from engine.grid.plan import GridPlan, Place, plan_grid, settle
from engine.jobs.events import EventLog
from engine.jobs.store import open_store
from engine.library import choose
from engine.styles import Style, write_styles
from engine.training.events import Checkpoint, Done, Started
from engine.workspace import Workspace

Run = Callable[..., str]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "data").prepare()
    for name in ("mascot", "style", "old/mascot-v1"):
        (workspace.loras / name).parent.mkdir(exist_ok=True)
        (workspace.loras / f"{name}.safetensors").write_bytes(b"no header is read for its name")
    return workspace


@pytest.fixture
def run(workspace: Workspace) -> Run:
    """A run folder with checkpoints at some steps of two an epoch; gives the id of its job."""

    def make(*steps: int, name: str = "mascot", done: int = 0) -> str:
        folder = workspace.runs / f"run-{name}"
        (folder / "checkpoints").mkdir(parents=True)
        log = EventLog(folder)
        log.append(Started(8, 4, 2, {}, {}, "cpu", "no").to_dict())
        for step in steps:
            file = folder / "checkpoints" / f"{name}-step{step:08d}.safetensors"
            file.write_bytes(b"")
            log.append(Checkpoint(step, -(-step // 2), f"checkpoints/{file.name}").to_dict())
        if done:
            log.append({"type": "step", "step": done, "loss": 1, "learning_rate": 1, "seconds": 1})
            log.append(Done(done, f"{name}.safetensors", 1.0).to_dict())
        return open_store(workspace.database).add("train", {}, name, folder=f"runs/{folder.name}").id

    return make


def grid(prompt: str = "a cat <lora:mascot:0.8>", base: bool = False, **settings) -> GridConfig:
    """A grid whose axes are written x="strength 0-1 [5]"."""
    axes = {letter: Axis() for letter in "xyz"}
    for letter in "xyz":
        if letter in settings:
            kind, _, values = settings.pop(letter).partition(" ")
            axes[letter] = Axis(kind=kind, values=values)
    own = {name: settings.pop(name) for name in ("adapter", "run", "prompts") if name in settings}
    return GridConfig(picture=GenerateConfig(prompt=prompt, **{"seed": 7, **settings}), base_column=base, **axes, **own)


def at(plan: GridPlan, x: int = 0, y: int = 0, z: int = 0, prompt: int = 0) -> GenerateConfig:
    place = Place(prompt, z, y, x)
    return next(cell.config for cell in plan.cells if place in cell.places)


def told(plan: GridPlan, name: str) -> list:
    return [getattr(at(plan, x), name) for x in range(len(plan.lines["x"].labels))]


# ---- what each axis does ----


def test_every_kind_of_axis_can_be_read() -> None:
    assert {"none", *AXES} == set(Axis.model_fields["kind"].annotation.__args__)


@pytest.mark.parametrize(
    ("x", "prompts"),
    [
        ("strength 0-1 [3]", ["a cat <lora:mascot:0>", "a cat <lora:mascot:0.5>", "a cat <lora:mascot:1>"]),
        ("strength off, -0.5", ["a cat ", "a cat <lora:mascot:-0.5>"]),
        ("text_encoder_strength 0, 1", ["a cat <lora:mascot:0:0.8>", "a cat <lora:mascot:1:0.8>"]),
        ("unet_strength 0, 1", ["a cat <lora:mascot:0.8:0>", "a cat <lora:mascot:0.8:1>"]),
        ("adapter style, old/mascot-v1, off", ["a cat <lora:style:0.8>", "a cat <lora:old/mascot-v1:0.8>", "a cat "]),
        ('prompt a cat, "a dog, wet", ""', ["a cat <lora:mascot:0.8>", "a dog, wet <lora:mascot:0.8>", " <lora:mascot:0.8>"]),
    ],
)
def test_what_changes_in_the_prompt(workspace: Workspace, x: str, prompts: list[str]) -> None:
    assert told(plan_grid(grid(x=x), workspace), "prompt") == prompts


@pytest.mark.parametrize(
    ("x", "name", "values", "labels"),
    [
        ("seed 1-3", "seed", [1, 2, 3], "1 2 3"),
        ("guidance_scale 1, 2.50", "guidance_scale", [1.0, 2.5], "1 2.5"),
        ("steps 10-30 (+10)", "steps", [10, 20, 30], "10 20 30"),
        ("sampler ddim, unipc", "sampler", ["DDIM", "UniPC"], "DDIM UniPC"),
        ("schedule karras", "schedule", ["Karras"], "Karras"),
        ("model starter", "model", ["starter"], "starter"),
        ("clip_skip 1, 2", "clip_skip", [1, 2], "1 2"),
    ],
)
def test_what_changes_among_the_settings(workspace: Workspace, x: str, name: str, values: list, labels: str) -> None:
    plan = plan_grid(grid(x=x), workspace)
    assert told(plan, name) == values and plan.lines["x"].labels == tuple(labels.split())


def test_denoising_is_that_of_what_the_request_has(workspace: Workspace) -> None:
    with pytest.raises(EngineError) as caught:
        plan_grid(grid(x="denoising 0.5"), workspace)
    assert caught.value.code == "grid.no_denoising"
    plan = plan_grid(grid(x="denoising 0.3, 0.6", source={"picture": "x.png"}, hires={"scale": 2}), workspace)
    assert [(at(plan, x).source.denoising, at(plan, x).hires.denoising) for x in (0, 1)] == [(0.3, 0.3), (0.6, 0.6)]
    assert at(plan_grid(grid(x="denoising 0.3", hires={"scale": 2}), workspace)).source.denoising == 0.75


def test_search_and_replace_reaches_every_prompt(workspace: Workspace) -> None:
    settings = {"negative_prompt": "red house", "hires": {"prompt": "a red cat", "negative_prompt": "red"}}
    plan = plan_grid(grid("a red cat", x="prompt red, blue", **settings), workspace)
    blue = at(plan, 1)
    assert (blue.prompt, blue.negative_prompt, blue.hires.prompt, blue.hires.negative_prompt) == (
        "a blue cat", "blue house", "a blue cat", "blue"
    )  # fmt: skip
    with pytest.raises(EngineError) as caught:
        plan_grid(grid(x="prompt green, blue"), workspace)
    assert caught.value.code == "grid.not_in_prompt" and caught.value.values["value"] == "green"


# ---- which adapter is meant ----


def test_the_first_adapter_of_the_prompt_varies_and_the_others_stay(workspace: Workspace) -> None:
    plan = plan_grid(grid("<lora:style:0.3> a cat <lora:mascot:0.8>", x="strength 1"), workspace)
    assert at(plan).prompt == "<lora:style:1> a cat <lora:mascot:0.8>"
    plan = plan_grid(grid("<lora:style:0.3> a cat <lora:Mascot:0.8>", x="strength 1", adapter="mascot"), workspace)
    assert at(plan).prompt == "<lora:style:0.3> a cat <lora:Mascot:1>"


def test_a_name_with_and_without_its_folder_is_one_adapter(workspace: Workspace) -> None:
    plan = plan_grid(grid("a cat <lora:mascot-v1:0.8>", x="strength 1", adapter="old/mascot-v1"), workspace)
    assert at(plan).prompt == "a cat <lora:mascot-v1:1>"


def test_an_adapter_that_the_prompt_lacks_gets_a_tag_and_the_same_text(workspace: Workspace) -> None:
    plan = plan_grid(grid("a cat", base=True, x="strength 0.5", adapter="mascot"), workspace)
    assert told(plan, "prompt") == ["a cat", "a cat<lora:mascot:0.5>"]
    plan = plan_grid(grid("a cat", x="adapter style, mascot, off"), workspace)
    assert told(plan, "prompt") == ["a cat<lora:style:1>", "a cat<lora:mascot:1>", "a cat"]


def test_names_and_strengths_go_together(workspace: Workspace) -> None:
    plan = plan_grid(grid(x="strength 0.5, 1", y="adapter style, mascot", z="unet_strength 0.2"), workspace)
    assert [at(plan, x, y).prompt for y in (0, 1) for x in (0, 1)] == [
        "a cat <lora:style:0.5:0.2>", "a cat <lora:style:1:0.2>", "a cat <lora:mascot:0.5:0.2>", "a cat <lora:mascot:1:0.2>"
    ]  # fmt: skip


def test_tags_of_the_second_pass_and_of_styles_vary_too(workspace: Workspace) -> None:
    write_styles(workspace, {"wet": Style("{prompt}, wet <lora:style:1>", "dry")})
    settings = {"styles": ["wet"], "hires": {"prompt": "a big cat <lora:mascot:0.8>"}}
    plan = plan_grid(grid(base=True, x="strength 0.5", **settings), workspace)
    assert told(plan, "prompt") == ["a cat , wet ", "a cat <lora:mascot:0.5>, wet <lora:style:1>"]
    assert [at(plan, x).hires.prompt for x in (0, 1)] == ["a big cat ", "a big cat <lora:mascot:0.5>"]
    assert at(plan).styles == [] and at(plan).negative_prompt == "dry"
    with pytest.raises(EngineError) as caught:
        plan_grid(grid(x="strength 1", styles=["dry"]), workspace)
    assert caught.value.code == "prompt.style_unknown"


def test_a_tag_in_a_comment_is_none(workspace: Workspace) -> None:
    plan = plan_grid(grid("a cat # <lora:style:1>\n<lora:mascot:1>", x="strength 0.5"), workspace)
    assert at(plan).prompt == "a cat \n<lora:mascot:0.5>"


# ---- versions of a run ----


def test_the_versions_of_a_run_are_files_of_its_folder(workspace: Workspace, run: Run) -> None:
    id = run(2, 3, 6)
    plan = plan_grid(grid("a cat <lora:style:1> <lora:mascot:0.8>", x="epoch", run=id), workspace)
    assert plan.lines["x"].labels == ("epoch 1 / step 2", "epoch 2 / step 3", "epoch 3 / step 6")
    first = plan.cells[0]
    assert first.config.prompt == "a cat <lora:style:1> <lora:mascot-step00000002:0.8>"
    assert dict(first.files) == {"mascot-step00000002": workspace.runs / "run-mascot/checkpoints/mascot-step00000002.safetensors"}


def test_the_finished_lora_stands_for_the_last_version(workspace: Workspace, run: Run) -> None:
    id = run(2, 4, done=4)
    plan = plan_grid(grid("a cat", x="epoch", run=id), workspace)
    assert told(plan, "prompt") == ["a cat<lora:mascot-step00000002:1>", "a cat<lora:mascot:1>"]
    assert plan.lines["x"].labels[1] == "epoch 2 / step 4" and not plan.cells[1].files


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ("1, 3", ["epoch 1 / step 2", "epoch 3 / step 6"]),
        ("step 3", ["epoch 2 / step 3"]),
        ("epoch 3 / step 6, off", ["epoch 3 / step 6", "off"]),
        ("1-3 (+2)", ["epoch 1 / step 2", "epoch 3 / step 6"]),
        ("3-1", ["epoch 3 / step 6", "epoch 2 / step 4", "epoch 1 / step 2"]),
    ],
)
def test_some_versions(workspace: Workspace, run: Run, values: str, labels: list[str]) -> None:
    plan = plan_grid(grid(x=f"epoch {values}", run=run(2, 3, 4, 6)), workspace)
    assert list(plan.lines["x"].labels) == labels


def test_versions_that_are_not_there(workspace: Workspace, run: Run) -> None:
    id = run(2, 4, name="gone")
    (workspace.runs / "run-gone/checkpoints/gone-step00000002.safetensors").unlink()
    assert plan_grid(grid(x="epoch", run=id), workspace).lines["x"].labels == ("epoch 2 / step 4",)
    wrong = {"1": "grid.no_version", "step 9": "grid.no_version", "first": "grid.values"}
    for values, code in wrong.items():
        with pytest.raises(EngineError) as caught:
            plan_grid(grid(x=f"epoch {values}", run=id), workspace)
        assert caught.value.code == code and caught.value.values["field"] == "x.values"
    for run_id, code in {"": "grid.no_run", "nix": "job.unknown", run(name="empty"): "grid.no_versions"}.items():
        with pytest.raises(EngineError) as caught:
            plan_grid(grid(x="epoch", run=run_id), workspace)
        assert caught.value.code == code and caught.value.values["field"] == "run"


def test_a_log_that_was_tampered_with_reaches_no_other_file(workspace: Workspace, run: Run) -> None:
    id = run(2)
    EventLog(workspace.runs / "run-mascot").append({"type": "checkpoint", "step": 3, "epoch": 1, "file": "../../jobs.sqlite3"})
    with pytest.raises(EngineError) as caught:
        plan_grid(grid(x="epoch", run=id), workspace)
    assert caught.value.code == "path.outside"
    EventLog(workspace.runs / "run-mascot").append({"type": "checkpoint", "step": 3, "file": 5})
    assert len(plan_grid(grid(x="epoch", run=id), workspace).cells) == 1


# ---- the base column, and the whole ----


def test_the_base_column_has_no_adapter_and_is_made_once(workspace: Workspace) -> None:
    plan = plan_grid(
        grid("a cat <lora:mascot:1><lora:style:1>", base=True, x="strength 0.5, 1", y="adapter mascot, style"), workspace
    )
    assert plan.lines["x"].labels == ("without LoRA", "0.5", "1") and plan.lines["x"].base
    assert at(plan, 0, 0) is at(plan, 0, 1) and at(plan).prompt == "a cat "
    assert (plan.places, plan.pictures) == (6, 5)


@pytest.mark.parametrize(
    ("settings", "base_on"),
    [
        ({"x": "seed 1, 2", "y": "strength 1"}, "y"),
        ({"x": "seed 1, 2"}, "y"),
        ({"y": "seed 1, 2"}, "x"),
        ({"x": "seed 1", "prompt": "a cat"}, ""),
    ],
)
def test_the_base_stands_where_the_adapter_varies_or_on_a_free_axis(workspace: Workspace, settings: dict, base_on: str) -> None:
    plan = plan_grid(grid(base=True, **settings), workspace)
    assert [letter for letter, line in plan.lines.items() if line.base] == list(base_on)
    if base_on and plan.lines[base_on].kind == "none":
        assert plan.lines[base_on].labels == ("without LoRA", "with LoRA")
        assert {at(plan, **{base_on: i}).prompt for i in (0, 1)} == {"a cat ", "a cat <lora:mascot:0.8>"}


def test_every_prompt_has_a_grid(workspace: Workspace) -> None:
    plan = plan_grid(grid(x="strength 0, 1", prompts=["a cat <lora:mascot:1>", "<lora:mascot:1> a dog"]), workspace)
    assert plan.prompts == ("a cat <lora:mascot:1>", "<lora:mascot:1> a dog")
    assert [at(plan, 1, prompt=i).prompt for i in (0, 1)] == ["a cat <lora:mascot:1>", "<lora:mascot:1> a dog"]


def test_made_by_model_then_by_file_then_by_strength(workspace: Workspace) -> None:
    settings = {"x": "seed 1-3", "y": "strength 0.5, 1", "z": "adapter mascot, style"}
    plan = plan_grid(grid(prompts=["a <lora:mascot:1>", "b <lora:mascot:1>"], **settings), workspace)
    tags = [cell.config.prompt[2:] for cell in plan.cells]
    assert len(tags) == 24 and [tag for tag, before in zip(tags, ["", *tags], strict=False) if tag != before] == [
        "<lora:mascot:0.5>", "<lora:mascot:1>", "<lora:style:0.5>", "<lora:style:1>"
    ]  # fmt: skip


def test_seeds_are_drawn_once_for_the_whole_grid(workspace: Workspace) -> None:
    plan = plan_grid(grid(x="strength 0, 1", seed=-1), workspace)
    assert at(plan).seed == at(plan, 1).seed >= 0
    config = settle(grid(x="seed -1, 5, -1", seed=-1))
    drawn = told(plan_grid(config, workspace), "seed")
    assert drawn == told(plan_grid(config, workspace), "seed") and drawn[1] == 5 and min(drawn) >= 0


@pytest.mark.parametrize(
    ("config", "code", "field"),
    [
        (grid(x="strength"), "grid.no_values", "x.values"),
        (grid(y="strength much"), "grid.values", "y.values"),
        (grid(y="guidance_scale 99"), "grid.out_of_bounds", "y.values"),
        (grid(y="seed -2"), "grid.out_of_bounds", "y.values"),
        (grid(y="steps 1.5"), "grid.values", "y.values"),
        (grid(z="sampler Euler z"), "grid.unknown_word", "z.values"),
        (grid(x="model nix.safetensors"), "model.not_found", "x.values"),
        (grid(x="adapter mascto"), "prompt.adapter_unknown", "x.values"),
        (grid(x="strength 1", adapter="mascto"), "prompt.adapter_unknown", "adapter"),
        (grid("<lora:mascto:1>", x="strength 1"), "prompt.adapter_unknown", "picture.prompt"),
        (grid("a cat", x="strength 1"), "grid.no_adapter", "adapter"),
        (grid(x="seed 1", y="seed 2"), "grid.twice", "y.kind"),
        (grid(x="adapter style", z="epoch"), "grid.twice", "z.kind"),
        (grid(base=True, x="seed 1", y="steps 1", z="clip_skip 1"), "grid.no_base", "base_column"),
        (grid(x="seed 1-100", y="steps 1-5"), "grid.too_many_pictures", "x.values"),
        (grid(x="seed 1-101", batch_size=2, batch_count=2), "grid.too_many_pictures", "x.values"),
        (grid(live_run="some"), "grid.live", "picture.live_run"),
    ],
)
def test_what_cannot_be_made_is_said_before(workspace: Workspace, config: GridConfig, code: str, field: str) -> None:
    with pytest.raises(EngineError) as caught:
        plan_grid(config, workspace)
    assert (caught.value.code, caught.value.values["field"]) == (code, field)


# ---- how long it takes ----


def test_the_time_is_that_of_earlier_pictures_by_steps_and_size(workspace: Workspace) -> None:
    plan = plan_grid(grid(x="steps 10, 30", width=128, height=128), workspace)
    assert seconds(plan, workspace) is None
    store, facts = open_store(workspace.database), choose(GenerateConfig().choice, workspace)
    for took, side, kind in ((4.0, 64, "generate"), (2.0, 64, "grid"), (8.0, 128, "generate")):
        config = GenerateConfig(model="starter", steps=20, width=side, height=side, batch_size=2)
        asked = config if kind == "generate" else GridConfig(picture=config)
        job = store.add(kind, asked.model_dump(mode="json"), "x")
        assert store.claim("w", (kind,))
        store.finish(job.id, "done", result={"pictures": [{}, {}]})
        with store._transaction() as connection:
            connection.execute("UPDATE jobs SET started = ?, finished = ? WHERE id = ?", (100.0, 100.0 + took, job.id))
    jobs = store.list(kinds=("generate", "grid"))
    paces = sorted(1e6 * took / (2 * 20 * side**2) for took, side in ((4.0, 64), (2.0, 64), (8.0, 128)))
    assert pace(jobs, "starter", facts) == pytest.approx(paces[1]) and pace(jobs, "other", facts) is None
    assert seconds(plan, workspace) == pytest.approx(paces[1] * 40 * 128**2 / 1e6)


def test_the_second_pass_and_an_unfinished_walk_count(workspace: Workspace) -> None:
    facts = choose(GenerateConfig().choice, workspace)
    plain, hires, source = (
        work(GenerateConfig(steps=10, **more), facts, 1)
        for more in ({}, {"hires": {"scale": 2, "denoising": 0.5}}, {"source": {"picture": "a.png", "denoising": 0.5}})
    )
    assert (hires / plain, source / plain) == pytest.approx((3, 0.5))


def test_a_grid_travels_as_plain_data(workspace: Workspace) -> None:
    config = grid(base=True, x="strength 0-1 [5]", y="seed 1-3", prompts=["a <lora:mascot:1>", "b <lora:mascot:1>"])
    again = GridConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json"))))
    assert plan_grid(again, workspace) == plan_grid(config, workspace)
