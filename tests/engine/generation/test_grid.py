"""Grids by the real studio on the starter: a cell is the picture its request makes alone, whatever was made before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.config.choices import ModelChoice
from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, GridConfig
from engine.errors import Interrupted
from engine.families import ready_model
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash
from engine.generation.grid import make_cells, together
from engine.generation.studio import Studio
from engine.grid.plan import Place, plan_grid
from engine.grid.record import GridRecord, begin_record, read_record
from engine.jobs.events import EventLog
from engine.jobs.generating import ResultPicture
from engine.jobs.store import open_store
from engine.training.events import Checkpoint
from engine.workspace import Workspace


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = Studio(Workspace(tmp_path_factory.mktemp("data")).prepare())
    write_lora(studio, studio.workspace.loras / "mascot.safetensors", 1)
    yield studio
    studio.release()


def write_lora(studio: Studio, file: Path, seed: int) -> None:
    """An adapter of random weights."""
    facts = ready_model(ModelChoice("starter"), studio.workspace)
    model = studio.shelf.take(facts, torch.device("cpu"), torch.float32)
    made = Network.create(model.facts.family, model.components, model.targets(LoraOptions(rank=2, alpha=2)), seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    write_adapter(file, made.tensors(), {})


def request(prompt: str, **settings) -> GenerateConfig:
    return GenerateConfig(prompt=prompt, **{"steps": 3, "seed": 7, **settings})


def make(studio: Studio, config: GridConfig, name: str, on_share=lambda done: None) -> GridRecord:
    plan = plan_grid(config, studio.workspace)
    record = begin_record(plan, studio.workspace.outputs / name)
    make_cells(plan, studio, record, on_share, lambda: None)
    return record


def at(record: GridRecord, x: int = 0, y: int = 0) -> ResultPicture:
    cell = record.at(Place(0, 0, y, x))
    assert cell and not cell.error
    return cell.pictures[0]


def pixels(picture: ResultPicture) -> np.ndarray:
    with Image.open(picture.file) as image:
        return np.asarray(image)


def test_a_cell_is_its_picture_alone_and_at_strength_0_the_base(studio: Studio) -> None:
    shares: list[float] = []
    config = GridConfig(
        picture=request("a red cat <lora:mascot:0.8>"), x=Axis(kind="strength", values="0, 1"), y=Axis(kind="seed", values="7, 9")
    )
    record = make(studio, config, "strengths", shares.append)
    assert len(record.made) == 6 and shares[-1] == 6 and shares == sorted(shares)
    for y, seed in enumerate((7, 9)):
        base, off, full = (pixels(at(record, x, y)) for x in range(3))
        (alone,) = studio.generate(request("a red cat <lora:mascot:1>", seed=seed), studio.workspace.outputs)
        assert np.array_equal(base, off) and np.array_equal(full, pixels(alone)) and not np.array_equal(base, full)
        assert at(record, 2, y).infotext == alone.infotext and "<lora" not in at(record, 0, y).infotext
        assert at(record, 2, y).adapters[0]["name"] == "mascot" and at(record, 2, y).problems == []


def test_the_versions_of_a_run_are_used_from_its_folder(studio: Studio) -> None:
    workspace = studio.workspace
    folder = workspace.runs / "run-gull"
    log = EventLog((folder / "checkpoints").parent)
    (folder / "checkpoints").mkdir(parents=True)
    for number, step in enumerate((4, 8), start=1):
        file = folder / "checkpoints" / f"gull-step{step:08d}.safetensors"
        write_lora(studio, file, 10 + number)
        log.append(Checkpoint(step, number, f"checkpoints/{file.name}").to_dict())
    run = open_store(workspace.database).add("train", {}, "gull", folder="runs/run-gull")
    config = GridConfig(
        picture=request("a red cat <lora:gull:0.9>"), run=run.id, x=Axis(kind="epoch"), y=Axis(kind="strength", values="0.5, 1")
    )
    record = make(studio, config, "epochs")
    assert record.lines["x"].labels == ("without LoRA", "epoch 1 / step 4", "epoch 2 / step 8")
    write_lora(studio, workspace.loras / "copy.safetensors", 12)
    (alone,) = studio.generate(request("a red cat <lora:copy:0.5>"), workspace.outputs)
    assert np.array_equal(pixels(at(record, 2, 0)), pixels(alone))
    assert len({pixels(picture).tobytes() for picture in record.made}) == 5
    told = at(record, 2, 0)
    assert told.problems == [] and "<lora:gull-step00000008:0.5>" in told.infotext
    assert f"gull-step00000008: {adapter_hash(file)[:12]}" in told.infotext


def test_stopped_in_the_middle_of_a_cell_those_before_it_stay(studio: Studio) -> None:
    def stop(done: float) -> None:
        if done > 2.5:
            raise Interrupted("job.interrupted", "Stop.")

    config = GridConfig(picture=request("a dog"), x=Axis(kind="seed", values="1, 3, 5, 7"), base_column=False)
    with pytest.raises(Interrupted):
        make(studio, config, "stopped", stop)
    record = read_record(studio.workspace.outputs / "stopped")
    assert record and [picture.seed for picture in record.made] == [1, 3]
    first = record.made[0].file.stat().st_mtime_ns
    record = make(studio, config, "stopped")
    assert [picture.seed for picture in record.made] == [1, 3, 5, 7] and record.made[0].file.stat().st_mtime_ns == first


def test_cells_along_seeds_are_made_as_a_batch(studio: Studio) -> None:
    config = GridConfig(
        picture=request("a red cat <lora:mascot:1>"), x=Axis(kind="strength", values="0.5, 1"), y=Axis(kind="seed", values="3-5, 9"),
        base_column=False,
    )  # fmt: skip
    groups = [[cell.config.seed for cell in cells] for cells in together(plan_grid(config, studio.workspace).cells)]
    assert groups == [[3, 4, 5], [9]] * 2
    record = make(studio, config, "seeds")
    assert len(record.made) == 8
    for cell in record.cells:
        (picture,) = cell.pictures
        place = cell.places[0]
        strength, seed = record.lines["x"].labels[place.x], record.lines["y"].labels[place.y]
        assert (f"<lora:mascot:{strength}>" in picture.infotext, str(picture.seed)) == (True, seed.removeprefix("Seed: "))
