"""The dataset a request is about: its folder, its album and its journal, and its files by name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from engine.datasets.album import Album, open_album
from engine.datasets.journal import Journal
from engine.errors import DatasetError
from engine.workspace import Workspace, safe_join
from webui.context import Context


class Asked(BaseModel):
    """The body of a request about a dataset."""

    model_config = ConfigDict(extra="forbid")

    dataset: str
    """As people type it: `practice/mascot`, a name below the datasets, or an allowed path."""


@dataclass(frozen=True)
class Opened:
    dataset: str
    folder: Path
    workspace: Workspace

    @cached_property
    def album(self) -> Album:
        return open_album(self.folder, self.workspace)

    @cached_property
    def journal(self) -> Journal:
        return Journal(self.folder)

    def file(self, name: str) -> Path:
        """A file of the dataset.

        Raises:
            PathError: `path.outside`.
        """
        return safe_join(self.folder, name)

    def changed(self, names: list[str]) -> dict:
        """What every change answers: the names it was about and what can be undone now. The album looks at them again."""
        self.album.refresh(names)
        return {"names": names, "history": self.history()}

    def history(self) -> dict[str, str | None]:
        """Labels of what can be undone and redone."""
        state = self.journal.state()
        return {"undo": state["undo"], "redo": state["redo"]}


def context_of(request: Request) -> Context:
    return request.app.state.context


Here = Annotated[Context, Depends(context_of)]
"""The running page, as an argument of a route."""


def open_dataset(dataset: str, context: Context) -> Opened:
    """Raises PathError: `path.not_allowed`; DatasetError: `dataset.not_a_folder`."""
    folder = context.workspace.dataset_folder(dataset)
    if not folder.is_dir():
        what = f"{dataset!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=dataset)
    return Opened(dataset.strip(), folder, context.workspace)
