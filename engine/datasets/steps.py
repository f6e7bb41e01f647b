"""What an operation on a dataset's files is made of: whole files written and files moved, each step atomic and reversible.

Knows no history and takes no lock; `journal` does. A step becomes visible by one rename, made of a file beside the history
that is not synced by itself: ten thousand captions would take minutes, and the journal holds their content anyway.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from engine.errors import DatasetError, PathError
from engine.workspace import safe_join

HISTORY = "_history"
"""Folder of the journal, inside the dataset."""


@dataclass(frozen=True)
class Write:
    """All bytes of a file before and after; None is no file. `name` is a posix path relative to the dataset."""

    name: str
    before: bytes | None
    after: bytes | None

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name,)

    def inverse(self) -> Write:
        return Write(self.name, self.after, self.before)


@dataclass(frozen=True)
class Move:
    """A file that gets another name, where there is none yet; its content and times stay."""

    source: str
    target: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.source, self.target

    def inverse(self) -> Move:
        return Move(self.target, self.source)


Step = Write | Move


class Moved(NamedTuple):
    """The content that lies at `name` before an operation, wherever its steps bring it."""

    name: str


class Tree:
    """The files of a dataset during one operation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._new = folder / HISTORY / "new"
        self._parents: dict[str, str] = {}
        self._paths: dict[str, str] = {}

    def path(self, name: str) -> str:
        """Where a name lies.

        Raises:
            PathError: `path.outside` where that is not inside the dataset, or in its history.
        """
        if name not in self._paths:
            self._paths[name] = self._path(name)
        return self._paths[name]

    def _path(self, name: str) -> str:
        parent, _, last = name.rpartition("/")
        if parent not in self._parents:
            self._parents[parent] = str(safe_join(self.folder, parent))
        parts = name.casefold().split("/")
        backslash = os.path.basename(last) != last  # parts names on Windows
        if HISTORY in parts or ".." in parts or last in ("", ".") or backslash or "\0" in last:
            raise PathError(
                "path.outside", f"The path {name!r} leaves its folder.", todo="Choose a name inside the folder.", path=name
            )
        path = os.path.join(self._parents[parent], last)
        return str(safe_join(self.folder, name)) if os.path.islink(path) else path

    def read(self, name: str) -> bytes | None:
        try:
            with open(self.path(name), "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def exists(self, name: str) -> bool:
        return os.path.lexists(self.path(name))

    def check(self, steps: Iterable[Step]) -> None:
        """That every step will find the files as it expects them after the steps before it.

        Raises:
            DatasetError: `dataset.conflict` naming the file.
        """
        changed: dict[str, Moved | bytes | None] = {}
        for step in steps:
            if isinstance(step, Write):
                now = changed.get(step.name, Moved(step.name))
                if (self.read(now.name) if isinstance(now, Moved) else now) != step.before:
                    raise conflict(step.name)
                changed[step.name] = step.after
                continue
            for name, wanted in ((step.source, True), (step.target, False)):
                now = changed.get(name, Moved(name))
                if (self.exists(now.name) if isinstance(now, Moved) else now is not None) != wanted:
                    raise conflict(name)
            changed[step.target], changed[step.source] = changed.get(step.source, Moved(step.source)), None

    def missing_folders(self, steps: Iterable[Step]) -> list[str]:
        """Folders that the steps need and that are not there, outer ones first."""
        targets = (step.names[-1] for step in steps if isinstance(step, Move) or step.after is not None)
        parents = {target.rpartition("/")[0] for target in targets}
        wanted = {str(folder) for parent in parents for folder in (PurePosixPath(parent), *PurePosixPath(parent).parents)}
        return sorted(name for name in wanted if not (self.folder / name).is_dir())

    def prepare(self, steps: Iterable[Step]) -> None:
        """Make the folders that the steps need, and away with what a killed process left."""
        self._new.unlink(missing_ok=True)
        for name in self.missing_folders(steps):
            (self.folder / name).mkdir(exist_ok=True)

    def remove_folders(self, names: Sequence[str]) -> None:
        """Those that are empty, inner ones first."""
        for folder in (self.folder / name for name in reversed(names)):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def perform(self, step: Step) -> None:
        """Do a step whose files are as it expects them."""
        if isinstance(step, Move):
            os.rename(self.path(step.source), self.path(step.target))
        elif step.after == step.before:
            return
        elif step.after is None:
            os.unlink(self.path(step.name))
        else:
            path = self.path(step.name)
            with open(self._new, "wb") as stream:
                stream.write(step.after)
            if step.before is not None:
                shutil.copymode(path, self._new)
            os.replace(self._new, path)

    def finish(self, step: Step) -> None:
        """Do a step unless it has been done. What something else has changed since keeps what it has."""
        if isinstance(step, Move):
            waiting = self.exists(step.source) and not self.exists(step.target)
        else:
            waiting = self.read(step.name) == step.before
        if waiting:
            self.perform(step)


def conflict(name: str) -> DatasetError:
    return DatasetError(
        "dataset.conflict", f"{name!r} has been changed by something else meanwhile.", "Nothing was written.",
        "Look at it again, then repeat what you did.", name=name,
    )  # fmt: skip
