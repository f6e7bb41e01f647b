"""What there is: the datasets one could open, and how the open one stands."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from engine.datasets.album import Album, open_album
from engine.datasets.concepts import concept_folders
from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.listing import entries, picture_files
from engine.errors import EngineError
from engine.workspace import SHIPPED_DATASETS
from webui.datasets.opened import Asked, Here, Opened, open_dataset
from webui.datasets.replies import Json

router = APIRouter()
COVERS = 4
"""Pictures that stand for a dataset in the list."""


@router.get("/list")
def listed(context: Here) -> Json:
    """The visitor's own datasets, then the exercises that ship with the program."""
    own = context.workspace.root / "datasets"
    found = [_in_list(folder.name, folder, False) for folder in _folders(own)]
    return Json(found + [_in_list(f"practice/{folder.name}", folder, True) for folder in _folders(SHIPPED_DATASETS)])


@router.post("/open")
def open_(asked: Asked, context: Here) -> Json:
    """Looks at the folder's files, and tells how far they have been read."""
    opened = open_dataset(asked.dataset, context)
    open_album(opened.folder, opened.workspace, again=True)
    return Json(_state(opened))


def _state(opened: Opened) -> dict[str, Any]:
    album = opened.album
    file = read_dataset_file(opened.folder)
    every = album.entries.values()
    kept = [entry for entry in every if not entry.excluded]
    return {
        "dataset": opened.dataset, "name": opened.dataset.rpartition("/")[2] or opened.dataset, "folder": str(opened.folder),
        "read_only": opened.journal.read_only, "total": album.total, "indexed": album.indexed, "whole": album.whole,
        "concepts": concepts(opened), "kind": file.kind if file else "", "trigger": file.trigger if file else "",
        "excluded": len(every) - len(kept), "uncaptioned": sum(not entry.caption for entry in kept),
        "problem": sum(bool(entry.problem) for entry in kept), "masked": sum(entry.masked for entry in kept),
        "history": opened.history(), "version": _version(album),
    }  # fmt: skip


def concepts(opened: Opened) -> list[dict[str, Any]]:
    """Every folder with pictures, with what is said of it; `trained` tells whether a run would take it."""
    trained = concept_folders(opened.folder, read_dataset_file(opened.folder), 1, [])
    counts: dict[str, int] = {}
    for entry in opened.album.entries.values():
        if not entry.excluded:
            counts[entry.concept] = counts.get(entry.concept, 0) + 1
    by_name = {"" if folder == opened.folder else folder.name: concept for folder, concept in trained.items()}
    names = [name for name in by_name if name or "" in counts] + [name for name in counts if name not in by_name]
    result = []
    for name in names:
        concept = by_name.get(name)
        result.append({
            "folder": name, "pictures": counts.get(name, 0), "trained": concept is not None,
            "repeats": concept.repeats if concept else 1, "kind": concept.kind if concept else "",
            "trigger": concept.trigger if concept else "", "class_tokens": concept.class_tokens if concept else "",
            "regularisation": concept.regularisation if concept else False,
        })  # fmt: skip
    return result


def _version(album: Album) -> str:
    """Another one whenever a picture, a caption or a mask has changed."""
    digest = hashlib.blake2b(digest_size=12)
    for entry in album.entries.values():
        digest.update(f"{entry.name}\0{entry.stamp}\0{entry.token}\0{entry.masked}\n".encode())
    return digest.hexdigest()


def _folders(root: Path) -> list[Path]:
    return [entry for entry in entries(root) if entry.is_dir() and entry.name[0] != "_"] if root.is_dir() else []


def _in_list(dataset: str, folder: Path, read_only: bool) -> dict[str, Any]:
    pictures = _first_pictures(folder)
    covers = [{"name": file.relative_to(folder).as_posix(), "v": str(file.stat().st_mtime_ns)} for file in pictures[:COVERS]]
    return {"dataset": dataset, "name": folder.name, "pictures": len(pictures), "read_only": read_only, "covers": covers}


def _first_pictures(folder: Path) -> list[Path]:
    """The pictures of a dataset, without opening any; none where the folder cannot be read."""
    try:
        places = [folder, *(entry for entry in entries(folder) if entry.is_dir() and entry.name[0] != "_")]
        return [file for place in places for file in picture_files(place) if file.is_file()]
    except EngineError:
        return []
