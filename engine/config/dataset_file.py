"""What a dataset says about itself: the file `dataset.yaml` beside its pictures.

A folder without it is a dataset too; then Kohya's folder names speak.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Le
from pydantic import Field as PydanticField
from pydantic import field_validator

from engine.config.field import Section, Ui
from engine.config.train import Kind

OWN_PICTURES = "."
"""Folder of a concept: the pictures that lie in the dataset's folder itself."""


class ConceptOptions(Section):
    """Pictures of one folder that belong together."""

    folder: Annotated[str, Ui(level="basic")] = OWN_PICTURES
    """Sub-folder of the dataset; `.` is the dataset's own pictures."""
    repeats: Annotated[int, Ge(1), Le(10_000), Ui(level="basic", step=1)] = 1
    """How often each picture is shown per epoch."""
    kind: Annotated[Kind, Ui(level="basic")] = "character"
    """What the pictures have in common."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """The word that calls it; empty takes the dataset's own."""
    class_tokens: Annotated[str, Ui(level="advanced")] = ""
    """The caption of pictures that have none, in Kohya's words class tokens."""
    regularisation: Annotated[bool, Ui(level="advanced")] = False
    """Pictures of the class in general (regularisation): they keep the model from forgetting it, and never get the trigger word."""

    @field_validator("folder")
    @classmethod
    def _is_one_folder(cls, folder: str) -> str:
        if folder != OWN_PICTURES and (not folder or folder.startswith((".", "_")) or "/" in folder or "\\" in folder):
            raise ValueError(f"{folder!r} is not the name of a sub-folder")
        return folder


class DatasetFile(Section):
    """A dataset."""

    version: Annotated[int, Ui(level="expert")] = 1
    """Format of this file."""
    kind: Annotated[Kind, Ui(level="basic")] = "character"
    """What the pictures have in common; advice and the length of a run follow from it."""
    trigger: Annotated[str, Ui(level="basic")] = ""
    """The word that will call what is learnt."""
    concepts: Annotated[list[ConceptOptions], Ui(level="advanced")] = PydanticField(default_factory=list)
    """The folders that are trained on. Empty: Kohya's folder names, or the dataset's own pictures."""

    @field_validator("concepts")
    @classmethod
    def _each_once(cls, concepts: list[ConceptOptions]) -> list[ConceptOptions]:
        folders = [concept.folder for concept in concepts]
        if len(folders) != len(set(folders)):
            raise ValueError("a folder is listed twice")
        return concepts
