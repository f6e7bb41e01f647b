"""Pictures taken out and put back, cut, turned and converted; and what a picture was before the first of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response

from engine.datasets import alter
from engine.datasets.alter import Altered
from engine.datasets.companions import ORIGINALS, Companions
from engine.datasets.incoming.names import is_picture
from engine.datasets.journal import Entry, Journal
from engine.datasets.masks import MASKS
from engine.datasets.reencode import TARGETS
from webui.datasets.browsing import told
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
    return _moved(opened, alter.exclude(opened.journal, opened.pictures(asked.names)))


@router.post("/include")
def include(asked: Named, context: Here) -> dict[str, Any]:
    opened = open_dataset(asked.dataset, context)
    return _moved(opened, alter.include(opened.journal, opened.pictures(asked.names)))


@router.post("/crop")
def crop(asked: Crop, context: Here) -> dict[str, Any]:
    return _each(open_dataset(asked.dataset, context), [asked.name], lambda journal, name: alter.crop(journal, name, asked.box))


@router.post("/rotate")
def rotate(asked: Rotate, context: Here) -> dict[str, Any]:
    return _each(
        open_dataset(asked.dataset, context), asked.names, lambda journal, name: alter.rotate(journal, name, asked.degrees)
    )


@router.post("/convert")
def convert(asked: Convert, context: Here) -> dict[str, Any]:
    """`names`: those the pictures have now."""
    return _each(
        open_dataset(asked.dataset, context), asked.names, lambda journal, name: alter.convert(journal, name, asked.extension)
    )


@router.get("/look")
def look(dataset: str, name: str, context: Here) -> dict[str, Any]:
    """One picture, whether there is an original of it, and what it can be converted to."""
    opened = open_dataset(dataset, context)
    opened.picture(name)
    return {
        "entry": told(opened.entry(name)), "original": Companions(opened.folder).has_original(name),
        "extensions": [ending[1:] for ending in TARGETS],
    }  # fmt: skip


@router.get("/original")
def original(dataset: str, name: str, context: Here) -> Response:
    """A picture as it was before it was first altered; 204 where it never was."""
    opened = open_dataset(dataset, context)
    opened.picture(name)
    kept = Companions(opened.folder).original(name)
    return shown(opened.file(kept)) if kept else Response(status_code=204)


def _each(opened: Opened, names: list[str], work: Callable[[Journal, str], Altered]) -> dict[str, Any]:
    """Alter pictures one after the other. What was done before one that cannot be altered stays done, and can be undone."""
    opened.pictures(names)
    altered: list[Altered] = []
    try:
        for name in names:
            altered.append(work(opened.journal, name))
    finally:
        opened.album.refresh(touched(*(each.entry for each in altered)))
    return {
        "names": [each.name for each in altered], "history": opened.history(),
        "first_frame": [each.name for each in altered if each.first_frame],
    }  # fmt: skip


def _moved(opened: Opened, entry: Entry | None) -> dict[str, Any]:
    return opened.changed(touched(entry) if entry else [])


def touched(*entries: Entry) -> list[str]:
    """The pictures that operations were about, by their names before and after."""
    names = dict.fromkeys(name for entry in entries for name in entry.names)
    return [name for name in names if is_picture(name) and not name.startswith((f"{MASKS}/", f"{ORIGINALS}/"))]
