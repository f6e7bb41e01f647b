"""New datasets below `datasets/`: empty ones, copies of others, and copies of any folder one may use.

A copy is made beside and gets its name when it is whole. Its source is only read; the history of a dataset stays with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.datasets.decode import picture_size, supported_extensions
from engine.datasets.incoming.intake import IntakeReport, report_of
from engine.datasets.incoming.names import Note, arrival_name, hidden, is_picture, look, note, safe_parts, size_limit
from engine.datasets.incoming.placing import Arrival, Room, settle
from engine.datasets.incoming.staging import MAX_FILES, check_disk, file_too_large, too_many
from engine.datasets.listing import natural_key
from engine.datasets.steps import HISTORY
from engine.errors import DatasetError, EngineError, PathError
from engine.workspace import Workspace, check_name, staged

OWN_FOLDERS = ("_excluded", "_originals", "_masks")
"""Of a dataset; what is in them is copied to the same place."""


@dataclass(frozen=True)
class Copied:
    """Attributes:
    dataset: name of the new dataset.
    """

    dataset: str
    report: IntakeReport


def create_dataset(name: str, workspace: Workspace) -> str:
    """Make an empty dataset; returns its name.

    Raises:
        PathError: `path.bad_name`.
        DatasetError: `dataset.exists`; `values["suggestion"]` is a name that is free.
    """
    place = _new_place(name, workspace)
    place.mkdir(parents=True)
    return place.name


def copy_dataset(source: Path, name: str, workspace: Workspace) -> Copied:
    """Copy the pictures, captions, masks and metadata of a folder into a new dataset.

    Folders and links are followed where the workspace allows what they lead to. What cannot come along is named in the report.

    Raises:
        PathError: `path.bad_name`, `path.not_allowed`.
        DatasetError: `dataset.exists`, `dataset.not_a_folder`, `dataset.no_pictures`, `incoming.too_many`, `incoming.disk_full`,
            `dataset.copy_failed`.
    """
    place, source = _new_place(name, workspace), workspace.allowed_path(str(source))
    if not source.is_dir():
        what = f"{str(source)!r} is not a folder."
        raise DatasetError("dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=source)
    arrivals, skipped = _found(source, workspace)
    if not any(is_picture(arrival.name) for arrival in arrivals):
        extensions = ", ".join(supported_extensions())
        raise DatasetError(
            "dataset.no_pictures", f"There are no pictures in {str(source)!r}.", f"Pictures end in {extensions}.",
            "Choose the folder that holds the pictures.", folder=source, extensions=extensions,
        )  # fmt: skip
    placed, notes = settle(arrivals, Room(), "keep_both")
    check_disk(place.parent, sum(arrival.file.stat().st_size for arrival in placed.values()))
    try:
        with staged(place) as folder:
            for target, arrival in placed.items():
                (folder / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(arrival.file, folder / target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(
            "dataset.copy_failed", f"The copy {name!r} could not be made: {reason}.", "Nothing was left behind.",
            "Check free space and permissions.", name=name, reason=reason,
        ) from error  # fmt: skip
    return Copied(place.name, report_of(placed, skipped + notes))


def import_folder(folder: str, name: str, workspace: Workspace) -> Copied:
    """`copy_dataset` of a folder that the user typed or chose."""
    return copy_dataset(workspace.allowed_path(folder), name, workspace)


def _new_place(name: str, workspace: Workspace) -> Path:
    name = check_name(name, field="name")
    datasets = workspace.root / "datasets"
    taken = {look(entry.name) for entry in datasets.iterdir()} if datasets.is_dir() else set()
    if look(name) in taken:
        free = next(other for number in range(2, len(taken) + 3) if look(other := f"{name}-{number}") not in taken)
        raise DatasetError(
            "dataset.exists", f"There is a dataset {name!r} already.", "A name that is free.", f"For example {free}.",
            name=name, suggestion=free,
        )  # fmt: skip
    return datasets / name


def _found(source: Path, workspace: Workspace) -> tuple[list[Arrival], list[Note]]:
    arrivals: list[Arrival] = []
    skipped: list[Note] = []
    for name, file in _files(source, workspace, skipped):
        try:
            arrivals.append(_arrival(name, file))
        except EngineError as error:
            skipped.append(note(name, error))
        if len(arrivals) > MAX_FILES:
            raise too_many()
    return arrivals, skipped


def _files(source: Path, workspace: Workspace, skipped: list[Note]) -> Iterator[tuple[str, Path]]:
    """Every file below a folder with its path in it, in natural order; a note on what is not entered."""
    seen: set[Path] = set()
    waiting = [("", source)]
    while waiting:
        name, place = waiting.pop()
        try:
            if name.rpartition("/")[2].startswith("."):
                raise hidden(name)
            resolved = workspace.allowed_path(str(place))
            if not resolved.is_dir():
                yield name, resolved
            elif resolved not in seen and name != HISTORY:
                seen.add(resolved)
                inner = sorted(os.listdir(resolved), key=natural_key, reverse=True)
                waiting += [(f"{name}/{entry}".lstrip("/"), resolved / entry) for entry in inner]
        except PathError as error:
            skipped.append(note(name, error))
        except OSError as error:
            skipped.append(note(name, _unreadable(name, error)))


def _arrival(name: str, file: Path) -> Arrival:
    """Raises PathError, DatasetError: why it cannot come along."""
    wished = _kept_name(safe_parts(name))
    try:
        if not file.is_file():
            raise OSError("it is a broken link or no ordinary file")
        with file.open("rb"):
            size = file.stat().st_size
    except OSError as error:
        raise _unreadable(name, error) from error
    if size > size_limit(wished):
        raise file_too_large(name, size_limit(wished))
    problem = None
    if is_picture(wished):
        try:
            picture_size(file, wished)
        except DatasetError as error:
            problem = error
    return Arrival(name, wished, file, problem=problem)


def _kept_name(parts: list[str]) -> str:
    if len(parts) > 1 and parts[0] in OWN_FOLDERS:
        return f"{parts[0]}/{_kept_name(parts[1:])}"
    return arrival_name(parts)


def _unreadable(name: str, error: OSError) -> DatasetError:
    reason = error.strerror or str(error)
    return DatasetError("incoming.unreadable", f"{name!r} cannot be read: {reason}.", name=name, reason=reason)
