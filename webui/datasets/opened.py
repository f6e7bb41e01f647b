"""The dataset a request is about: its folder, its album and its journal, and its files by name."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from engine.datasets.album import Album, Entry, open_album
from engine.datasets.album_files import EXCLUDED
from engine.datasets.doctor import Kept, Report, last_report
from engine.datasets.incoming.names import is_picture
from engine.datasets.journal import Journal
from engine.errors import DatasetError
from engine.workspace import Workspace, safe_join
from webui.context import Context

PATIENCE, ENOUGH = 0.15, 200
"""Seconds that an answer waits for what is still being read, unless so many pictures are there already."""


class Asked(BaseModel):
    """The body of a request about a dataset."""

    model_config = ConfigDict(extra="forbid")

    dataset: str
    """As people type it: `practice/mascot`, a name below the datasets, or an allowed path."""


class Named(Asked):
    """About some of its pictures."""

    names: list[str]


@dataclass(frozen=True)
class Opened:
    dataset: str
    folder: Path
    workspace: Workspace

    @cached_property
    def album(self) -> Album:
        """What is still being read is given a moment, which is enough for a small dataset."""
        album = open_album(self.folder, self.workspace)
        if not album.whole and album.indexed < ENOUGH:
            album.read(PATIENCE)
        return album

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.folder)

    @cached_property
    def checked(self) -> Kept | None:
        """The last check; None where there was none."""
        return last_report(self.folder, self.workspace)

    @property
    def report(self) -> Report | None:
        """What is still true of the last check."""
        return self.checked.standing if self.checked else None

    def file(self, name: str) -> Path:
        """A file of the dataset.

        Raises:
            PathError: `path.outside`.
        """
        return safe_join(self.folder, name)

    def picture(self, name: str) -> Path:
        """A picture of the dataset, one of those taken out included; nothing else of the folder is handed out.

        Raises:
            PathError: `path.outside`; DatasetError: `picture.missing`.
        """
        path = self.file(name)
        *places, file = name.removeprefix(f"{EXCLUDED}/").split("/")
        hidden = file[:1] == "." or any(not place or place[0] in "._" for place in places)
        if hidden or len(places) > 1 or not is_picture(file) or not os.path.isfile(path):
            what = f"There is no picture {name!r} here any more."
            raise DatasetError("picture.missing", what, todo="Look at the dataset again.", name=name)
        return path

    def entry(self, name: str) -> Entry:
        """What the album knows of a picture; it looks again where it does not know it yet. Raises as `picture` does."""
        self.picture(name)
        if name not in self.album.entries:
            self.album.refresh([name])
        return self.album.entries[name]

    def pictures(self, names: Collection[str]) -> list[str]:
        """The same for several names; those that the album knows need no look at the disk."""
        known = self.album.entries
        for name in names:
            if name not in known:
                self.picture(name)
        return list(names)

    def changed(self, names: Collection[str]) -> dict[str, Any]:
        """What every change answers: the pictures it was about and what can be undone now. The album has looked at them again."""
        self.album.refresh(names)
        return {"names": list(names), "history": self.history()}

    def history(self) -> dict[str, Any]:
        """The operations that undo and redo would concern, each {label, values}, or None."""
        state = self.journal.state()
        done, entries = state["position"], state["entries"]
        kept = [{"label": each["label"], "values": each["values"]} for each in entries[max(0, done - 1) : done + 1]]
        before = kept[0] if done else None
        after = kept[-1] if done < len(entries) else None
        return {"undo": before, "redo": after}


def context_of(request: Request) -> Context:
    return request.app.state.context


Here = Annotated[Context, Depends(context_of)]
"""The running page, as an argument of a route."""


def open_dataset(dataset: str, context: Context) -> Opened:
    """Raises PathError: `path.not_allowed`; DatasetError: `dataset.not_a_folder`."""
    folder = context.workspace.dataset_folder(dataset)
    if not os.path.isdir(folder):
        what = f"{dataset!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=dataset)
    return Opened(dataset.strip(), folder, context.workspace)
