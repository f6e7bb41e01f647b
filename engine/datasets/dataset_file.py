"""Reading and writing `dataset.yaml`, what a dataset says about itself. Its fields are declared in `engine.config.dataset_file`."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.config.load import migrate, read_yaml
from engine.config.text import dump
from engine.datasets.listing import kohya_name
from engine.errors import ConfigError, DatasetError
from engine.workspace import atomic_write

NAME = "dataset.yaml"


def read_dataset_file(folder: Path) -> DatasetFile | None:
    """What the dataset in `folder` says about itself; None where it says nothing.

    What a concept leaves out is filled in: the kind from the dataset, repeats and class tokens from a name of Kohya's form.

    Raises:
        DatasetError: `dataset.file`, with the line or the field.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        return filled_in(DatasetFile.model_validate(migrate(read_yaml(path))))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).removeprefix(".")
        given = "" if first["type"] == "value_error" else f" (given: {str(first['input'])[:80]!r})"
        reason = f"{place}: {first['msg'].removeprefix('Value error, ')}{given}"
    except ConfigError as error:
        reason = str(error.values.get("reason") or error.what)
    raise DatasetError(
        "dataset.file", f"The file {NAME} cannot be used: {reason}.", "A description of the dataset as this program writes it.",
        "Correct the file, or remove it and describe the dataset again.", file=NAME, reason=reason, folder=folder,
    )  # fmt: skip


def write_dataset_file(folder: Path, file: DatasetFile) -> None:
    """Write `dataset.yaml`, whole or not at all."""
    with atomic_write(folder / NAME, "w") as stream:
        stream.write(as_yaml(file))


def as_yaml(file: DatasetFile) -> str:
    """The text of `dataset.yaml`."""
    return dump(filled_in(file).model_dump(mode="json"))


def filled_in(file: DatasetFile) -> DatasetFile:
    """The same with nothing left out of its concepts."""
    return file.model_copy(update={"concepts": [_filled_in(concept, file) for concept in file.concepts]})


def _filled_in(concept: ConceptOptions, file: DatasetFile) -> ConceptOptions:
    usual: dict[str, object] = {"kind": file.kind}
    if named := kohya_name(concept.folder):
        usual["repeats"], usual["class_tokens"] = named
    return concept.model_copy(update={name: value for name, value in usual.items() if name not in concept.model_fields_set})
