"""A grid as a job: its folder and record as it grows, what stop keeps, who comes in between, and going on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.config.generate import GenerateConfig
from engine.config.grid import Axis, GridConfig
from engine.errors import ConfigError, EngineError
from engine.formats.infotext import parse_infotext, png_bytes, read_infotext_from_image
from engine.grid.plan import Place
from engine.grid.record import read_record
from engine.jobs import actions
from engine.jobs.desk import Desk
from engine.jobs.generating import ResultPicture
from engine.jobs.gridding import grid_folder
from engine.jobs.job import Job
from engine.jobs.worker import Worker
from engine.workspace import Workspace, atomic_write
from tests.support.counting import COUNTING


class DrawingStudio:
    """Makes pictures of one colour, in three steps each."""

    def __init__(self, workspace: Workspace) -> None:
        self.made: list[str] = []
        self.extra: list[Mapping[str, Path]] = []

    def generate(
        self, config: GenerateConfig, out: Path, on_progress: Callable | None = None, on_preview: Any = None,
        on_picture: Callable | None = None, extra: Mapping[str, Path] | None = None,
    ) -> list[ResultPicture]:  # fmt: skip
        if config.width == 60:
            raise ConfigError("config.size", "60 px does not fit.", field="width")
        self.made.append(f"{config.prompt} {config.seed}")
        self.extra.append(extra or {})
        pictures = []
        for number in range(config.batch_size):
            for step in range(3):
                if on_progress:
                    on_progress(3 * number + step + 1, 3 * config.batch_size)
            seed = config.seed + number
            infotext = f"{config.prompt}\nSteps: 3, Seed: {seed}, Size: 48x32"
            file = out / f"{len(self.made)}-{seed}.png"
            with atomic_write(file) as stream:
                stream.write(png_bytes(Image.new("RGB", (48, 32), (10 * seed % 256, 0, 90)), infotext))
            pictures.append(ResultPicture(file, seed, infotext, False, [], []))
            if on_picture:
                on_picture(pictures[-1])
        return pictures

    def release(self) -> None:
        pass


@pytest.fixture
def worker(desk: Desk) -> Worker:
    desk.runners = {**COUNTING, "generate": DrawingStudio}
    return Worker(desk)


def grid(prompt: str = "a cat", x: str = "1-3", **settings) -> GridConfig:
    """Cells of their own requests: seeds that count up would be made as a batch, if it were not for the variation."""
    picture = GenerateConfig(prompt=prompt, seed=1, variation_seed=1, variation_strength=0.1, **settings)
    return GridConfig(picture=picture, x=Axis(kind="seed", values=x))


def work_one(worker: Worker) -> Job:
    job = worker.claim()
    assert job
    worker.work(job)
    return worker.desk.store.get(job.id)


def test_a_grid_to_its_end(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid("a cat,\n big", batch_size=2), workspace)
    assert (job.kind, job.name, job.state) == ("grid", "a cat, big", "queued")
    notes: list[dict] = []
    worker.desk.tell = lambda job, note: notes.append(note)
    job = work_one(worker)
    folder = grid_folder(job, workspace)
    assert job.state == "done" and folder.parent.parent == workspace.outputs and folder.name.endswith(job.id[-4:])
    assert job.result and job.result["folder"] == folder.relative_to(workspace.root).as_posix()
    assert [picture.seed for picture in actions.pictures(job, workspace)] == [1, 2, 2, 3, 3, 4]
    assert notes[0]["phase"] == "grid" and notes[0]["folder"] == job.result["folder"] and notes[0]["total"] == 6
    record = read_record(folder)
    assert record and record.total == 6 and record.prompts == ("a cat,\n big",)
    cell = record.at(Place(0, 0, 0, 1))
    assert cell and [picture.seed for picture in cell.pictures] == [2, 3] and cell.pictures[0].file.is_file()
    assert record.sheet and job.result["sheet"].endswith("sheet.png")


def test_the_record_grows_with_every_cell(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid(), workspace)
    grown: list[int] = []

    def look() -> None:
        record = read_record(grid_folder(job, workspace))
        grown.append(len(record.cells) if record else -1)

    worker.serve = look  # type: ignore[method-assign]
    work_one(worker)
    assert grown == [0, 1, 2]


def test_the_sheet_carries_the_axes(worker: Worker, workspace: Workspace) -> None:
    config = grid(x="1, 3")
    config.y = Axis(kind="guidance_scale", values="1-7 [3]")
    job = actions.start_grid(config, workspace)
    work_one(worker)
    sheet = grid_folder(job, workspace) / "sheet.png"
    prompt, _, told = parse_infotext(read_infotext_from_image(sheet) or "")
    assert prompt == "a cat" and told["Script"] == "X/Y/Z plot" and told["Seed"] == "1"
    assert (told["X Type"], told["X Values"], told["Y Type"], told["Y Values"]) == ("Seed", "1, 3", "CFG Scale", "1-7 [3]")
    with Image.open(sheet) as image:
        assert image.width > 2 * 48 and image.height > 3 * 32


def test_stop_keeps_what_is_done_and_draws_it(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid(x="1-9"), workspace)

    def stop_after_two() -> None:
        record = read_record(grid_folder(job, workspace))
        if record and len(record.cells) == 2:
            actions.cancel(job, workspace)

    worker.serve = stop_after_two  # type: ignore[method-assign]
    job = work_one(worker)
    assert job.state == "cancelled" and job.result
    assert len(actions.pictures(job, workspace)) == 2 and (workspace.root / job.result["sheet"]).is_file()


def test_stopped_before_anything_is_made_there_is_nothing(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid(), workspace)
    worker.serve = lambda: actions.cancel(job, workspace) and None  # type: ignore[method-assign]
    job = work_one(worker)
    assert job.state == "cancelled" and job.result is None


def test_pictures_come_in_between(worker: Worker, workspace: Workspace) -> None:
    actions.start_grid(grid(), workspace)
    claimed = worker.claim()
    assert claimed
    asked = actions.start_generation(GenerateConfig(prompt="urgent", seed=5), workspace)
    worker.work(claimed)
    assert worker.desk.store.get(asked.id).state == "done"
    studio = worker._studio
    assert isinstance(studio, DrawingStudio) and studio.made == ["urgent 5", "a cat 1", "a cat 2", "a cat 3"]


def test_when_the_process_ends_the_grid_waits_and_goes_on_where_it_was(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid(x="1-4", batch_size=2), workspace)
    studio = worker.studio()

    def end_after_one() -> None:
        record = read_record(grid_folder(job, workspace))
        if record and len(record.cells) == 1:
            worker.desk.mailbox.stop()

    worker.serve = end_after_one  # type: ignore[method-assign]
    job = work_one(worker)
    assert job.state == "queued" and not (grid_folder(job, workspace) / "sheet.png").exists()
    assert isinstance(studio, DrawingStudio)
    (grid_folder(job, workspace) / "1-2.png").unlink()  # half of the first cell has gone since
    worker.desk.mailbox.stopping = False
    worker.serve = lambda: None  # type: ignore[method-assign]
    job = work_one(worker)
    assert job.state == "done" and len(actions.pictures(job, workspace)) == 8
    assert studio.made == ["a cat 1", "a cat 2", "a cat 1", "a cat 2", "a cat 3", "a cat 4"]


def test_a_cell_that_cannot_be_made_ends_alone(worker: Worker, workspace: Workspace) -> None:
    class Fussy(DrawingStudio):
        def generate(self, config: GenerateConfig, out: Path, *more: Any, **named: Any) -> list[ResultPicture]:
            if config.seed == 2:
                raise ConfigError("config.size", "It does not fit.", field="width")
            return super().generate(config, out, *more, **named)

    worker.desk.runners = {**COUNTING, "generate": Fussy}
    job = actions.start_grid(grid(), workspace)
    job = work_one(worker)
    record = read_record(grid_folder(job, workspace))
    assert job.state == "done" and record and len(record.made) == 2
    cell = record.at(Place(0, 0, 0, 1))
    assert cell and not cell.pictures and (cell.error or {})["code"] == "config.size"
    job = actions.start_grid(grid(width=60), workspace)
    assert (work_one(worker).error or {})["code"] == "config.size"  # none at all


def test_an_unexpected_failure_keeps_what_is_done(worker: Worker, workspace: Workspace, capfd: pytest.CaptureFixture) -> None:
    class Breaks(DrawingStudio):
        def generate(self, config: GenerateConfig, out: Path, *more: Any, **named: Any) -> list[ResultPicture]:
            if config.seed == 2:
                raise RuntimeError("out of memory")
            return super().generate(config, out, *more, **named)

    worker.desk.runners = {**COUNTING, "generate": Breaks}
    actions.start_grid(grid(), workspace)
    job = work_one(worker)
    assert job.state == "failed" and "out of memory" in (job.error or {})["what"]
    assert len(actions.pictures(job, workspace)) == 1 and "Traceback" in capfd.readouterr().err


def test_skip_leaves_out_one_cell(worker: Worker, workspace: Workspace) -> None:
    job = actions.start_grid(grid(), workspace)
    asked = [False]

    def skip_first(_: Job, note: dict) -> None:
        if not asked[0]:
            asked[0] = True
            actions.skip(job, workspace)

    worker.desk.tell = skip_first
    job = work_one(worker)
    assert job.state == "done" and [picture.seed for picture in actions.pictures(job, workspace)] == [2, 3]


def test_what_cannot_be_made_is_not_queued(workspace: Workspace) -> None:
    for config, field in ((grid(x="-5"), "x.values"), (grid(model="nix.safetensors"), "model.path"), (grid(x=""), "x.values")):
        with pytest.raises(EngineError) as caught:
            actions.start_grid(config, workspace)
        assert caught.value.values["field"] == field
    assert actions.open_store(workspace.database).list() == []


def test_seeds_are_drawn_when_it_is_queued_and_a_press_counts_once(workspace: Workspace) -> None:
    config = grid(x="-1, 7")
    config.picture.seed = -1
    job = actions.start_grid(config, workspace, "press")
    assert job.config["picture"]["seed"] >= 0 and "-1" not in job.config["x"]["values"]
    assert actions.start_grid(config, workspace, "press") == job


def test_a_run_tells_a_grid_what_it_waits_for(worker: Worker, workspace: Workspace, settings: Callable) -> None:
    run = actions.start_training(settings(), workspace)
    claimed = worker.claim()
    assert claimed and claimed.id == run.id
    job = actions.start_grid(grid(), workspace)
    worker.work(claimed)
    waiting = worker.desk.store.get(job.id)
    assert waiting.state == "queued" and waiting.progress == {"phase": "waiting", "waiting": run.id, "run": "my-mascot"}


def test_a_record_that_was_tampered_with_is_none(workspace: Workspace) -> None:
    folder = workspace.outputs / "grid"
    folder.mkdir()
    assert read_record(folder) is None
    picture = {"file": "../../x.png", "seed": 1, "infotext": "", "without": False, "problems": [], "adapters": []}
    cells = [{"places": [[0, 0, 0, 0]], "pictures": [picture], "error": None}]
    for data in ("[]", "{", json.dumps({"prompts": [""], "lines": {}, "total": 1, "cells": cells})):
        (folder / "grid.json").write_text(data)
        assert read_record(folder) is None, data
