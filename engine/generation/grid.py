"""Makes the pictures of a grid, cell by cell, and keeps the record of it. Knows no queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from engine.config.generate import GenerateConfig
from engine.errors import EngineError, Interrupted
from engine.grid.plan import Cell, GridPlan
from engine.grid.record import GridRecord, MadeCell, save_record
from engine.jobs.runners import Studio

AT_ONCE = 8
"""The most cells of one batch."""
OnShare = Callable[[float], None]
"""Called with how many pictures are made, counting a picture on its way by its share."""


def make_cells(
    plan: GridPlan, studio: Studio, record: GridRecord, on_share: OnShare, between: Callable[[], None],
    on_preview: Callable[[Any], None] | None = None,
) -> None:  # fmt: skip
    """Make the cells that a record lacks, adding each to it. A cell that cannot be made says why and the others are made.

    Args:
        on_share: may raise Interrupted; what is made of the cell is kept.
        between: called before each request.

    Raises:
        EngineError: no picture could be made at all.
    """
    whole = {cell.places for cell in record.cells}
    save_record(record)
    for cells in together([cell for cell in plan.cells if cell.places not in whole]):
        between()
        _make(cells, studio, record, on_share, on_preview)
    errors = [cell.error for cell in record.cells if cell.error]
    if errors and not record.made:
        raise EngineError.from_dict(errors[0])


def together(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that one request can make as a batch: they follow one another and differ in their seeds only, which count up."""
    groups: list[list[Cell]] = []
    for cell in cells:
        group = groups[-1] if groups else []
        if 0 < len(group) < AT_ONCE and cell.files == group[0].files and cell.config == _with_seed(group[0], len(group)):
            group.append(cell)
        else:
            groups.append([cell])
    return groups


def _with_seed(cell: Cell, more: int) -> GenerateConfig | None:
    """The request of a cell at a later seed; None where a batch would not give its picture."""
    config = cell.config
    if cell.pictures > 1 or config.variation_strength or config.compare:
        return None
    return config.model_copy(update={"seed": config.seed + more})


def _make(
    cells: Sequence[Cell], studio: Studio, record: GridRecord, on_share: OnShare, on_preview: Callable[[Any], None] | None
) -> None:
    first, before, error = cells[0], len(record.made), None
    config = first.config if len(cells) == 1 else first.config.model_copy(update={"batch_size": len(cells)})
    pictures: list[Any] = []

    def progress(done: int, total: int) -> None:
        on_share(before + sum(cell.pictures for cell in cells) * done / max(total, 1))

    try:
        studio.generate(config, record.folder, progress, on_preview, pictures.append, extra=first.files)
    except Interrupted:
        raise
    except EngineError as problem:
        error = problem.to_dict()
    finally:
        for number, cell in enumerate(cells):
            own = pictures if len(cells) == 1 else pictures[number : number + 1]
            if own or error:
                record.cells.append(MadeCell(cell.places, tuple(own), error))
        save_record(record)
