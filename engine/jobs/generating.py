"""Works on a generate job, with whoever can make pictures: the studio, or a trainer between two steps."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.generate import GenerateConfig
from engine.config.load import validate
from engine.errors import Interrupted, Skipped
from engine.jobs.desk import Desk, ProgressNote, see_through
from engine.jobs.job import Job
from engine.jobs.runners import PictureMaker
from engine.workspace import Workspace, atomic_write, safe_join

PREVIEW, PREVIEWS_KEPT, PREVIEW_SECONDS = "live-", 3, 60
"""How the files of pictures on their way begin, how many of a job are kept, and for how long after it."""


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
    """Make what a claimed job asks for. Pictures that are finished when it is asked to end are kept."""
    made: list[dict] = []

    def work() -> dict:
        config = validate(GenerateConfig, job.config)
        out = desk.workspace.outputs / time.strftime("%Y-%m-%d")
        watch = PictureWatch(desk, job)
        maker.generate(config, out, watch.progress, watch.preview, lambda each: made.append(record(each, desk.workspace)))
        return {"pictures": made}

    see_through(desk, job, work, lambda: {"pictures": made} if made else None)


class PictureWatch:
    """Tells of pictures on their way, and passes on what is asked of their job."""

    def __init__(self, desk: Desk, job: Job) -> None:
        self.desk, self.job = desk, job
        self.note = ProgressNote(desk, job)
        self._folder = desk.workspace.cache / "previews"  # of small copies, which is served
        sweep_previews(self._folder)
        self._began = time.monotonic()
        self._shown = 0

    def progress(self, done: int, total: int) -> None:
        """Raises Interrupted, or Skipped when only this batch is not wanted."""
        spent = time.monotonic() - self._began
        self.tell({
            "phase": "generating", "done": done, "total": total, "seconds_left": spent / done * (total - done) if done else None,
        })  # fmt: skip

    def tell(self, told: dict[str, Any]) -> None:
        """Write a note, and obey what is asked: raises as `progress` does."""
        if self._shown:
            told |= {"preview": self._file(self._shown).relative_to(self.desk.workspace.root).as_posix(), "shown": self._shown}
        self.note.write(told)
        request = self.desk.request(self.job)
        if request == "skip":
            self.desk.store.skipped(self.job.id)
            raise Skipped("job.skipped", "The rest of this batch was left out.")
        if request:
            raise Interrupted("job.interrupted", "The pictures were not finished.")

    def preview(self, image: Any) -> None:
        """Show a picture on its way, when the last one has been seen."""
        if self.note.due:
            self._shown += 1
            with atomic_write(self._file(self._shown)) as stream:
                image.save(stream, format="PNG")
            self._file(self._shown - PREVIEWS_KEPT).unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        """A file for each, since a browser may still be reading the one before."""
        return self._folder / f"{PREVIEW}{self.job.id}-{number}.png"


def sweep_previews(folder: Path) -> None:
    """Remove what earlier jobs showed on their way and nobody looks at any more."""
    for file in folder.glob(f"{PREVIEW}*.png"):
        with suppress(OSError):
            if time.time() - file.stat().st_mtime > PREVIEW_SECONDS:
                file.unlink()


def record(picture: Any, workspace: Workspace) -> dict:
    """A picture (see ResultPicture) as plain data; its file relative to the data folder."""
    return {
        "file": picture.file.relative_to(workspace.root).as_posix(), "seed": picture.seed, "infotext": picture.infotext,
        "without": picture.without, "problems": picture.problems, "adapters": picture.adapters,
    }  # fmt: skip


def pictures_of(job: Job, workspace: Workspace) -> list[ResultPicture]:
    """The pictures of an ended job that are still there."""
    records = (job.result or {}).get("pictures", [])
    pictures = [ResultPicture(**{**each, "file": safe_join(workspace.root, each["file"])}) for each in records]
    return [picture for picture in pictures if picture.file.is_file()]
