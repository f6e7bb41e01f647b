"""Works on a generate job, with whoever can make pictures: the studio, or a trainer between two steps."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.errors import Interrupted
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job
from engine.jobs.runners import PictureMaker
from engine.workspace import Workspace, safe_join


@dataclass(frozen=True)
class ResultPicture:
    """A picture a job made. The fields are those of `engine.generation.studio.Picture`."""

    file: Path
    seed: int
    infotext: str
    without: bool
    problems: list[dict]
    adapters: list[dict]


def make_pictures(desk: Desk, job: Job, maker: PictureMaker) -> None:
    """Make what a claimed job asks for."""

    def work() -> dict:
        config = validate(GenerateConfig, job.config)
        note = ProgressNote(desk, job)

        def on_progress(done: int, total: int) -> None:
            note.write({"phase": "generating", "done": done, "total": total})
            if desk.request(job):
                raise Interrupted("job.interrupted", "The pictures were not finished.")

        out = desk.workspace.outputs / time.strftime("%Y-%m-%d")
        pictures = maker.generate(config, out, on_progress)
        return {"pictures": [_record(picture, desk.workspace) for picture in pictures]}

    see_through(desk, job, work)


def _record(picture: ResultPicture, workspace: Workspace) -> dict:
    """A picture as plain data; its file relative to the data folder."""
    return {
        "file": picture.file.relative_to(workspace.root).as_posix(), "seed": picture.seed, "infotext": picture.infotext,
        "without": picture.without, "problems": picture.problems, "adapters": picture.adapters,
    }  # fmt: skip


def pictures_of(job: Job, workspace: Workspace) -> list[ResultPicture]:
    """The pictures of a finished job that are still there."""
    records = (job.result or {}).get("pictures", [])
    pictures = [ResultPicture(**{**record, "file": safe_join(workspace.root, record["file"])}) for record in records]
    return [picture for picture in pictures if picture.file.is_file()]
