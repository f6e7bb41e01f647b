"""The folders of this machine that pictures may be taken from, one level at a time: what the folder picker shows.

Only allowed roots and what lies below them, hidden folders left out. It reads names, never a file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.datasets.decode import supported_extensions
from engine.errors import DatasetError, PathError
from engine.workspace import SHIPPED_DATASETS, Workspace

MOST_LOOKED_AT = 20_000
"""Entries of one folder that are looked at: a folder of a million files must not hold up the page."""


def listing(at: str, workspace: Workspace) -> dict[str, Any]:
    """`{at, parent, pictures, folders: [{name, path, pictures}]}` of a folder; of the roots where `at` is empty.

    Raises:
        PathError: `path.not_allowed`; the same whether or not there is something.
        DatasetError: `dataset.not_a_folder` of what may be seen.
    """
    if not at.strip():
        return {"at": "", "parent": None, "pictures": 0, "folders": [_entry(root, str(root)) for root in roots(workspace)]}
    folder = workspace.allowed_path(at)
    try:
        inside = sorted(_folders(folder, workspace), key=lambda each: each.name.casefold())
    except OSError:
        what = f"{at!r} is not a folder that can be read."
        raise DatasetError("dataset.not_a_folder", what, todo="Choose another folder.", folder=at) from None
    parent = "" if folder in roots(workspace) else str(folder.parent)
    folders = [_entry(each, each.name) for each in inside]
    return {"at": str(folder), "parent": parent, "pictures": pictures_in(folder), "folders": folders}


def roots(workspace: Workspace) -> list[Path]:
    """Where one can begin: the allowed roots that are there, each once."""
    found = (root.resolve() for root in workspace.allowed_roots if root != SHIPPED_DATASETS)
    return [root for root in dict.fromkeys(found) if root.is_dir()]


def pictures_in(folder: Path) -> int:
    """How many files of the folder itself are called like pictures."""
    endings = tuple(supported_extensions())
    try:
        return sum(entry.name.lower().endswith(endings) and entry.name[0] != "." for entry in _entries(folder))
    except OSError:
        return 0


def _folders(folder: Path, workspace: Workspace) -> Iterator[Path]:
    """The folders inside that may be entered; a link may lead to where none may."""
    for entry in _entries(folder):
        if entry.name[0] in "._" or not entry.is_dir():
            continue
        try:
            yield workspace.allowed_path(entry.path)
        except PathError:
            continue


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for _, entry in zip(range(MOST_LOOKED_AT), entries, strict=False):
            yield entry


def _entry(folder: Path, name: str) -> dict[str, Any]:
    return {"name": name, "path": str(folder), "pictures": pictures_in(folder)}
