"""Pictures taken out and put back, cut, turned and converted; and what a picture was before the first of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response

from engine.datasets import alter
from engine.datasets.journal import Journal
from webui.datasets.opened import Asked, Here, Named, Opened, open_dataset
from webui.datasets.pictures import shown
from webui.datasets.replies import Json

router = APIRouter(default_response_class=Json)


class Crop(Asked):
    """`box`: left, top, right and bottom of what stays, in px of the upright picture."""

    name: str
    box: tuple[int, int, int, int]


class Rotate(Named):
    """`degrees`: clockwise."""

    degrees: Literal[90, 180, 270]


class Convert(Named):
    """`extension`: such as ".png"."""

    extension: str


@router.post("/exclude")
def exclude(asked: Named, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    return opened.changed(alter.exclude(opened.journal, opened.pictures(asked.names)).names)


@router.post("/include")
def include(asked: Named, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    return opened.changed(alter.include(opened.journal, opened.pictures(asked.names)).names)
