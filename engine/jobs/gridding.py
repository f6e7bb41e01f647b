"""Works on a grid job. Between two of its cells, pictures that somebody waits for come first."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.config.grid import GridConfig
from engine.config.load import validate
from engine.errors import Interrupted
from engine.generation.grid import make_cells
from engine.grid.outcome import note_suggestion
from engine.grid.plan import plan_grid
from engine.grid.record import GridRecord, begin_record, save_record
from engine.grid.suggest import Scores
from engine.grid.versions import read_run
from engine.jobs.desk import Desk, as_engine_error, see_through, trace
from engine.jobs.generating import PictureWatch, record
from engine.jobs.job import Job
from engine.jobs.runners import Studio
from engine.workspace import Workspace


def make_grid(desk: Desk, job: Job, studio: Studio, serve: Callable[[], None]) -> None:
    """Make what a claimed job asks for. Cells that are finished when it is asked to end are kept, and with them a sheet.

    Args:
        serve: makes the pictures of jobs that wait.
    """
    made: list[GridRecord] = []

    def work() -> dict:
        config = validate(GridConfig, job.config)
        plan = plan_grid(config, desk.workspace)
        grid = begin_record(plan, grid_folder(job, desk.workspace))
        made.append(grid)
        watch = GridWatch(desk, job, grid)
        try:
            make_cells(plan, studio, grid, watch.share, lambda: watch.pause(serve), watch.preview)
            if config.score and config.run:
                _score(grid, config, studio, watch)
        finally:
            if not desk.mailbox.stopping:  # it goes on later
                _draw(grid)
        return result_of(grid, desk.workspace)

    see_through(desk, job, work, lambda: result_of(made[0], desk.workspace) if made and made[0].made else None)


def grid_folder(job: Job, workspace: Workspace) -> Path:
    """Where the pictures of a grid lie; the same when a job is begun again."""
    began = time.localtime(job.created)
    name = f"grid-{time.strftime('%H%M%S', began)}-{job.id.rpartition('-')[2]}"
    return workspace.outputs / time.strftime("%Y-%m-%d", began) / name


def result_of(grid: GridRecord, workspace: Workspace) -> dict:
    """A grid as the result of its job: `folder` and `sheet` ("" for none) below the data folder, and `pictures` as of a generation."""
    sheet = grid.sheet
    return {
        "folder": grid.folder.relative_to(workspace.root).as_posix(),
        "sheet": sheet.relative_to(workspace.root).as_posix() if sheet else "",
        "pictures": [record(picture, workspace) for picture in grid.made],
    }


def _score(grid: GridRecord, config: GridConfig, studio: Studio, watch: GridWatch) -> None:
    """Score the pictures and keep what follows from it. A grid without scores is a grid too: why there are none is kept with it."""
    from engine.generation.scoring import score_pictures

    workspace = watch.desk.workspace
    try:
        grid.scores = score_pictures(grid, config, studio, workspace, watch.look)
        save_record(grid)
        note_suggestion(grid.scores.groups, read_run(config.run, workspace))
    except Interrupted:
        raise
    except Exception as error:
        print(f"{watch.job.id} is not scored: {trace(error) or error}", file=sys.stderr, flush=True)
        grid.scores = replace(grid.scores or Scores(), error=as_engine_error(error).to_dict())
        save_record(grid)


def _draw(grid: GridRecord) -> None:
    from engine.grid.sheet import draw_sheet

    draw_sheet(grid)


class GridWatch(PictureWatch):
    """Tells of a grid on its way: pictures done and in all, seconds left, and the folder in which it grows."""

    def __init__(self, desk: Desk, job: Job, grid: GridRecord) -> None:
        super().__init__(desk, job)
        self.grid, self._first, self._paused = grid, len(grid.made), 0.0

    def share(self, done: float) -> None:
        """Raises Interrupted, or Skipped when only this cell is not wanted."""
        spent, new = time.monotonic() - self._began - self._paused, done - self._first
        self.tell({
            "phase": "grid", "done": int(done), "total": self.grid.total,
            "seconds_left": spent / new * (self.grid.total - done) if new > 0 else None,
            "folder": self.grid.folder.relative_to(self.desk.workspace.root).as_posix(),
        })  # fmt: skip

    def look(self, done: int, total: int) -> None:
        """Pictures looked at to score them. Raises as `share` does."""
        self.tell({
            "phase": "scoring", "done": done, "total": total, "folder": self.grid.folder.relative_to(self.desk.workspace.root).as_posix(),
        })  # fmt: skip

    def pause(self, work: Callable[[], None]) -> None:
        """Let others work, on their own time."""
        began = time.monotonic()
        work()
        self._paused += time.monotonic() - began
