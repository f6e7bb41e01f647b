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


class Tree:
    """The files of a dataset during one operation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._new = folder / HISTORY / "new"
        self._parents: dict[str, Path] = {}
        self._paths: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """Where a name lies.

        Raises:
            PathError: `path.outside` where that is not inside the dataset, or in its history.
        """
        if name not in self._paths:
            self._paths[name] = self._path(name)
        return self._paths[name]

    def _path(self, name: str) -> Path:
        parent, _, last = name.rpartition("/")
        if parent not in self._parents:
            self._parents[parent] = safe_join(self.folder, parent)
        path = self._parents[parent] / last
        ours = any(part.casefold() == HISTORY for part in parent.split("/"))
        if ours or last in ("", ".") or ".." in name.split("/") or path.name != last:  # on Windows a backslash parts names too
            raise PathError(
                "path.outside", f"The path {name!r} leaves its folder.", todo="Choose a name inside the folder.", path=name
            )
        return safe_join(self.folder, name) if path.is_symlink() else path

    def read(self, name: str) -> bytes | None:
        return _read(self.path(name))

    def check(self, steps: Iterable[Step]) -> None:
        """That every step will find the files as it expects them after the steps before it.

        Raises:
            DatasetError: `dataset.conflict` naming the file.
        """
        changed: dict[str, bytes | Path | None] = {}  # a path stands for the content that lies there now
        for step in steps:
            if isinstance(step, Write):
                now = changed.get(step.name, self.path(step.name))
                if (_read(now) if isinstance(now, Path) else now) != step.before:
                    raise conflict(step.name)
                changed[step.name] = step.after
                continue
            source, target = (changed.get(name, self.path(name)) for name in step.names)
            for name, place, wanted in ((step.source, source, True), (step.target, target, False)):
                if (os.path.lexists(place) if isinstance(place, Path) else place is not None) != wanted:
                    raise conflict(name)
            changed[step.source], changed[step.target] = None, source

    def missing_folders(self, steps: Iterable[Step]) -> list[str]:
        """Folders that the steps need and that are not there, outer ones first."""
        targets = {step.names[-1] for step in steps if isinstance(step, Move) or step.after is not None}
        parents = {parent for target in targets for parent in PurePosixPath(target).parents}
        return sorted(str(parent) for parent in parents if not (self.folder / parent).is_dir())

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
        elif step.after is None:
            self.path(step.name).unlink()
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
            waiting = os.path.lexists(self.path(step.source)) and not os.path.lexists(self.path(step.target))
        else:
            waiting = step.before != step.after and self.read(step.name) == step.before
        if waiting:
            self.perform(step)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def conflict(name: str) -> DatasetError:
    return DatasetError(
        "dataset.conflict", f"{name!r} has been changed by something else meanwhile.", "Nothing was written.",
        "Look at it again, then repeat what you did.", name=name,
    )  # fmt: skip
