"""What a grid has become so far: `grid.json` in its folder, written anew after every cell, so that a page can show it grow.

The folder holds the pictures, `grid.json`, and at the end `sheet.png`. Files are named relative to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from engine.errors import PathError
from engine.grid.plan import GridPlan, Line, Place
from engine.grid.suggest import GroupScore, Scores
from engine.jobs.generating import ResultPicture
from engine.workspace import atomic_write, safe_join

FILE, SHEET = "grid.json", "sheet.png"
VERSION = 1
PICTURE_FIELDS = tuple(ResultPicture.__dataclass_fields__)


@dataclass(frozen=True)
class MadeCell:
    """A cell that was worked on.

    Attributes:
        places: all its places in the grid.
        error: `EngineError.to_dict` of why its pictures could not be made, or not all.
    """

    places: tuple[Place, ...]
    pictures: tuple[ResultPicture, ...]
    error: dict | None = None


@dataclass
class GridRecord:
    """A grid on disk.

    Attributes:
        lines: the axes, by letter.
        total: pictures of the whole grid.
        cells: those worked on, in the order they were made.
        scores: of the pictures; None where they were not asked for, or not yet.
    """

    folder: Path
    prompts: tuple[str, ...]
    lines: Mapping[str, Line]
    total: int
    cells: list[MadeCell] = field(default_factory=list)
    scores: Scores | None = None

    @property
    def made(self) -> list[ResultPicture]:
        """All pictures made so far."""
        return [picture for cell in self.cells for picture in cell.pictures]

    @property
    def sheet(self) -> Path | None:
        """The whole grid as one picture, once it has ended."""
        file = self.folder / SHEET
        return file if file.is_file() else None

    def at(self, place: Place) -> MadeCell | None:
        """The cell at a place, if it was worked on."""
        return next((cell for cell in self.cells if place in cell.places), None)


def begin_record(plan: GridPlan, folder: Path) -> GridRecord:
    """The record of a grid that begins, or goes on where it was left: cells that are whole are kept."""
    record = GridRecord(folder, plan.prompts, plan.lines, plan.pictures)
    before = read_record(folder)
    if before and (before.prompts, before.lines) == (record.prompts, record.lines):
        wanted = {cell.places: cell.pictures for cell in plan.cells}
        record.cells = [cell for cell in before.cells if len(cell.pictures) == wanted.get(cell.places)]
    return record


def save_record(record: GridRecord) -> None:
    """Write `grid.json`."""
    data = {
        "version": VERSION, "prompts": record.prompts, "lines": {letter: asdict(line) for letter, line in record.lines.items()},
        "total": record.total, "cells": [_told(cell) for cell in record.cells],
        "scores": asdict(record.scores) if record.scores else None,
    }  # fmt: skip
    with atomic_write(record.folder / FILE, "w") as stream:
        json.dump(data, stream, ensure_ascii=False)


def _told(cell: MadeCell) -> dict[str, Any]:
    pictures = [
        {name: getattr(picture, name) for name in PICTURE_FIELDS} | {"file": picture.file.name} for picture in cell.pictures
    ]
    return {"places": cell.places, "pictures": pictures, "error": cell.error}


def read_record(folder: Path) -> GridRecord | None:
    """The grid in a folder; None when there is none, or none that can be read. Pictures deleted since are left out."""
    try:
        data = json.loads((folder / FILE).read_bytes())
        lines = {letter: Line(**{**line, "labels": tuple(line["labels"])}) for letter, line in data["lines"].items()}
        cells = [_cell(told, folder) for told in data["cells"]]
        return GridRecord(folder, tuple(data["prompts"]), lines, data["total"], cells, _scores(data.get("scores")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, PathError):
        return None


def _cell(told: dict[str, Any], folder: Path) -> MadeCell:
    pictures = [ResultPicture(**{**each, "file": safe_join(folder, each["file"])}) for each in told["pictures"]]
    there = tuple(picture for picture in pictures if picture.file.is_file())
    return MadeCell(tuple(Place(*place) for place in told["places"]), there, told["error"])


def _scores(told: dict[str, Any] | None) -> Scores | None:
    return Scores(**{**told, "groups": tuple(GroupScore(**group) for group in told["groups"])}) if told else None
