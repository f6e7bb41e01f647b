"""Makes the pictures of a grid, cell by cell, and keeps the record of it. Knows no queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.errors import EngineError, Interrupted
from engine.grid.plan import Cell, GridPlan
from engine.grid.record import GridRecord, MadeCell, save_record
from engine.jobs.runners import Studio

OnShare = Callable[[float], None]
"""Called with how many pictures are made, counting a picture on its way by its share."""


def make_cells(
    plan: GridPlan, studio: Studio, record: GridRecord, on_share: OnShare, between: Callable[[], None],
    on_preview: Callable[[Any], None] | None = None,
) -> None:  # fmt: skip
    """Make the cells that a record lacks, adding each to it. A cell that cannot be made says why and the others are made.

    Args:
        on_share: may raise Interrupted; what is made of the cell is kept.
        between: called before each cell.

    Raises:
        EngineError: no picture could be made at all.
    """
    whole = {cell.places for cell in record.cells}
    save_record(record)
    for cell in plan.cells:
        if cell.places not in whole:
            between()
            _make(cell, studio, record, on_share, on_preview)
    errors = [cell.error for cell in record.cells if cell.error]
    if errors and not record.made:
        raise EngineError.from_dict(errors[0])


def _make(cell: Cell, studio: Studio, record: GridRecord, on_share: OnShare, on_preview: Callable[[Any], None] | None) -> None:
    before, error = len(record.made), None
    pictures: list[Any] = []

    def progress(done: int, total: int) -> None:
        on_share(before + cell.pictures * done / max(total, 1))

    try:
        studio.generate(cell.config, record.folder, progress, on_preview, pictures.append, extra=cell.files)
    except Interrupted:
        raise
    except EngineError as problem:
        error = problem.to_dict()
    finally:
        if pictures or error:
            record.cells.append(MadeCell(cell.places, tuple(pictures), error))
            save_record(record)
