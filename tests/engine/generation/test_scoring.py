"""Scores of a grid by the real starter: the ends of the scale, what cannot be compared, and a whole grid job."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, GridConfig
from engine.config.train import TrainConfig
from engine.datasets.scan import scan
from engine.errors import EngineError, Interrupted
from engine.formats.adapter_writer import write_adapter
from engine.generation.pipeline import to_image
from engine.generation.scoring import TRAINING_PICTURES, score_pictures, training_pictures
from engine.generation.studio import Studio
from engine.grid.plan import Line, Place
from engine.grid.record import GridRecord, MadeCell, read_record
from engine.grid.suggest import GroupScore
from engine.jobs import actions, run_folder
from engine.jobs.desk import Desk
from engine.jobs.events import EventLog
from engine.jobs.generating import ResultPicture
from engine.jobs.gridding import make_grid
from engine.jobs.mailbox import Mailbox
from engine.jobs.store import open_store
from engine.sidecars import read_sidecar
from engine.starter.scorer import pictures_of
from engine.starter.world import random_scene
from engine.training.events import Checkpoint, Done
from engine.workspace import SHIPPED_DATASETS, Workspace

BARE = GenerateConfig(steps=2, seed=1)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    workspace = Workspace(tmp_path_factory.mktemp("data")).prepare()
    shutil.copytree(SHIPPED_DATASETS / "mascot", workspace.root / "datasets" / "mascot")
    studio = Studio(workspace)
    yield studio
    studio.release()


@pytest.fixture(scope="module")
def run(studio: Studio) -> str:
    """A finished run with one version before its last: adapters of random weights."""
    workspace = studio.workspace
    config = TrainConfig.model_validate({"dataset": {"folder": "mascot"}, "output": {"name": "gull"}})
    folder = workspace.root / run_folder.create(workspace, "gull", config)
    log = EventLog(folder)
    write_lora(studio, folder / "checkpoints" / "gull-step00000004.safetensors", 1)
    log.append(Checkpoint(4, 1, "checkpoints/gull-step00000004.safetensors").to_dict())
    write_lora(studio, workspace.loras / "gull.safetensors", 2)
    log.append(Done(8, "gull.safetensors", 1.0).to_dict())
    name = folder.relative_to(workspace.root).as_posix()
    return open_store(workspace.database).add("train", config.model_dump(mode="json"), "gull", folder=name).id


def write_lora(studio: Studio, file: Path, seed: int) -> None:
    model = studio.bare(BARE)
    made = Network.create(model.facts.family, model.components, model.targets(LoraOptions(rank=2, alpha=2)), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    write_adapter(file, made.tensors(), {})


@pytest.fixture(scope="module")
def world(studio: Studio) -> list[Path]:
    """Pictures of what the starter's world is full of."""
    rng = random.Random(0)
    folder = studio.workspace.outputs / "world"
    folder.mkdir()
    files = [folder / f"{index}.png" for index in range(4)]
    for file, picture in zip(files, pictures_of([random_scene(rng) for _ in files], rng), strict=True):
        to_image(picture).save(file)
    return files


def record(base: list[Path], cells: list[list[Path]], kind: str = "strength", name: str = "gull") -> GridRecord:
    """A grid along x, as if it had been made: the base column, then cells at the strengths 0.25, 0.5, ..."""
    labels = ("without LoRA", *(str(0.25 * number) for number in range(1, len(cells) + 1)))
    made = [
        MadeCell(
            (Place(0, 0, 0, x),),
            tuple(
                ResultPicture(file, 1, "", False, [], [{"name": name, "text_encoder": 0.25 * x, "unet": 0.25 * x}] if x else [])
                for file in files
            ),
        )
        for x, files in enumerate([base, *cells] if base else cells, start=0 if base else 1)
    ]
    line = Line("strength", "", labels, base=True)
    lines = {"x": line, "y": Line("none", "", ("",)), "z": Line("none", "", ("",))}
    return GridRecord(Path(), ("a cat",), lines | ({"z": Line("model", "", ("a", "b"))} if kind == "model" else {}), 1, made)


def scored(studio: Studio, made: GridRecord, run: str) -> dict[float, GroupScore]:
    scores = score_pictures(made, GridConfig(picture=BARE, run=run), studio, studio.workspace, lambda done, total: None)
    assert scores.training == 16 and scores.method and not scores.error
    return {group.unet: group for group in scores.groups}


def test_the_ends_of_the_scale(studio: Studio, run: str, world: list[Path]) -> None:
    training = [picture.path for picture in scan(studio.workspace.root / "datasets" / "mascot").pictures]
    found = scored(studio, record(world, [world, training, training[:1]]), run)
    assert found[0.25].likeness == pytest.approx(0, abs=1e-4) and found[0.25].diversity == pytest.approx(1)
    assert found[0.5].likeness == pytest.approx(1, abs=1e-4) and 0 < (found[0.5].diversity or 0) < 1
    one = found[0.75]
    assert one.diversity is None and one.pictures == 1 and one.total == pytest.approx(min(one.likeness, 1))
    assert one.version.endswith("step 8") and (one.step, one.at) == (8, {"x": 3})


def test_of_one_base_picture_nobody_knows_how_different_they_usually_are(studio: Studio, run: str, world: list[Path]) -> None:
    assert scored(studio, record(world[:1], [world]), run)[0.25].diversity is None


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"base": []}, "grid.score_base"), ({"kind": "model"}, "grid.score_models"), ({"name": "cat"}, "grid.score_nothing")],
)
def test_what_cannot_be_compared(studio: Studio, run: str, world: list[Path], changes: dict, code: str) -> None:
    with pytest.raises(EngineError) as refused:
        scored(studio, record(**{"base": world, "cells": [world], **changes}), run)
    assert refused.value.code == code


def test_many_training_pictures_are_looked_at_in_part(studio: Studio, run: str) -> None:
    folder = studio.workspace.root / "datasets" / "mascot"
    own = scan(folder).pictures[0].path
    copies = [Path(shutil.copy(own, own.with_name(f"copy{number:03}{own.suffix}"))) for number in range(100)]
    chosen = training_pictures(run, studio.workspace)
    for copy in copies:
        copy.unlink()
    assert len(set(chosen)) == TRAINING_PICTURES == len(chosen) and min(chosen).name < "copy006"


def made_grid(studio: Studio, config: GridConfig) -> GridRecord:
    """What a grid job leaves."""
    workspace = studio.workspace
    mailbox = Mailbox()
    desk = Desk(workspace, open_store(workspace.database), mailbox)
    asked = actions.start_grid(config, workspace)
    job = desk.store.claim(desk.worker, ("grid",), asked.id)
    assert job
    make_grid(desk, job, studio, lambda: None)
    mailbox.close()
    job = desk.store.get(job.id)
    assert job.state == "done" and job.result
    found = read_record(workspace.root / job.result["folder"])
    assert found
    return found


def test_a_grid_of_a_run_is_scored_and_the_file_told(studio: Studio, run: str) -> None:
    config = GridConfig(
        picture=BARE, run=run, prompts=["a red cat", "a blue dog"], x=Axis(kind="strength", values="0, 1"), y=Axis(kind="epoch")
    )
    found = made_grid(studio, config)
    assert found.scores and not found.scores.error
    assert [(group.at["x"], group.at["y"], group.step, group.unet) for group in found.scores.groups] == [
        (1, 0, 4, 0), (2, 0, 4, 1), (1, 1, 8, 0), (2, 1, 8, 1),
    ]  # fmt: skip
    for group in found.scores.groups:
        assert group.pictures == 2 and group.diversity is not None
        if not group.unet:
            assert group.likeness == pytest.approx(0, abs=1e-5) and group.diversity == pytest.approx(1)
    told = read_sidecar(studio.workspace.loras / "gull.safetensors")
    best = max(group.total for group in found.scores.groups if group.step == 8)
    assert told.suggested_weight == (1 if best > 0 else 0)


def test_a_grid_whose_dataset_has_gone_is_whole_and_says_why_it_is_not_scored(studio: Studio, run: str) -> None:
    folder = studio.workspace.root / "datasets" / "mascot"
    folder.rename(folder.with_name("away"))
    try:
        found = made_grid(studio, GridConfig(picture=BARE, run=run, x=Axis(kind="epoch")))
    finally:
        folder.with_name("away").rename(folder)
    assert len(found.made) == 3 and found.scores and not found.scores.groups
    assert found.scores.error and found.scores.error["code"].startswith(("dataset.", "path."))


def test_scoring_can_be_stopped(studio: Studio, run: str, world: list[Path]) -> None:
    def stop(done: int, total: int) -> None:
        if done:
            raise Interrupted("job.interrupted", "Stop.")

    with pytest.raises(Interrupted):
        score_pictures(record(world, [world]), GridConfig(picture=BARE, run=run), studio, studio.workspace, stop)
