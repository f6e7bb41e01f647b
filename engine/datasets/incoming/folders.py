"""Folders one may choose from, for a picker in the page: below the allowed roots only, and nothing hidden.

What lies outside is refused in the same words whether or not it exists.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from engine.datasets.incoming.names import is_picture
from engine.datasets.listing import natural_key
from engine.errors import PathError
from engine.workspace import Workspace

MAX_FOLDERS = 500
MAX_COUNTED = 1000
"""Entries of a folder that are looked at to count its pictures."""


@dataclass(frozen=True)
class Folder:
    """A folder to choose or to enter.

    Attributes:
        path: what `browse` and `import_folder` take.
        pictures: how many lie in it itself; of a very full folder those among the first `MAX_COUNTED` entries.
    """

    name: str
    path: str
    pictures: int


@dataclass(frozen=True)
class Folders:
    """Attributes:
    at: the folder that is shown; "" is the list of places to begin at.
    parent: the folder above; None at the top.
    folders: in natural order.
    whole: no folder was left out for their number.
    """

    at: str
    parent: str | None
    folders: list[Folder]
    whole: bool = True


def browse(at: str, workspace: Workspace) -> Folders:
    """The folders in `at`.

    Raises:
        PathError: `path.not_allowed`: also where there is no such folder.
    """
    if not at.strip():
        roots = dict.fromkeys(root.resolve() for root in workspace.allowed_roots if root.is_dir())
        return Folders("", None, [Folder(str(root), str(root), _pictures(root)) for root in roots])
    place = workspace.allowed_path(at)
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        raise workspace.not_allowed(at) from None
    inner = []
    for name in sorted(names, key=natural_key)[:MAX_FOLDERS]:
        with suppress(PathError):  # a link that leads out
            inner.append(Folder(name, str(place / name), _pictures(workspace.allowed_path(str(place / name)))))
    return Folders(str(place), _parent(place, workspace), inner, len(names) <= MAX_FOLDERS)


def _parent(place: Path, workspace: Workspace) -> str:
    try:
        return str(workspace.allowed_path(str(place.parent)))
    except PathError:
        return ""


def _pictures(folder: Path) -> int:
    with suppress(OSError), os.scandir(folder) as entries:
        return sum(is_picture(entry.name) and not entry.name.startswith(".") for entry in islice(entries, MAX_COUNTED))
    return 0
