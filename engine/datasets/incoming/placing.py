"""Where files that have come find room in a dataset: nothing is overwritten, and a picture and its caption stay together.

Files that were sent side by side under one stem are placed as one group. A group that finds a name taken by something else
goes under the next free number, whole: `a (2).png` with `a (2).txt`. What is there already, byte for byte, is left out.
"""

from __future__ import annotations

import filecmp
import itertools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from engine.datasets.incoming.names import DATASET_FILE, Note, is_picture, look, note
from engine.datasets.listing import entries
from engine.errors import DatasetError, EngineError

Clash = Literal["keep_both", "skip"]


@dataclass(frozen=True)
class Arrival:
    """A file that has come.

    Attributes:
        sent: its name as it was sent.
        name: the name it would like in the dataset.
        file: where its bytes lie.
        batch: what it came in, an archive or the loose files.
        problem: why it cannot be read, where that is so.
    """

    sent: str
    name: str
    file: Path
    batch: int = 0
    problem: EngineError | None = None


@dataclass
class Room:
    """The names that are taken in a dataset, by their looks.

    Attributes:
        files: look of a name -> the file of that name.
        stems: look of a name without its ending -> the looks of the names that share it.
        folders: look of a folder -> its name.
    """

    files: dict[str, Path] = field(default_factory=dict)
    stems: dict[str, set[str]] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: Path) -> Room:
        """Raises DatasetError: `dataset.unreadable_folder`."""
        room = cls()
        for entry in entries(dataset):
            if entry.is_dir():
                room.folders[look(entry.name)] = entry.name
                for inner in [] if entry.name.startswith("_") else entries(entry):
                    room.take(f"{entry.name}/{inner.name}", inner)
            else:
                room.take(entry.name, entry)
        return room

    def take(self, name: str, file: Path) -> None:
        self.files[look(name)] = file
        self.stems.setdefault(_stem_look(name), set()).add(look(name))
        if "/" in name:
            folder = name.split("/")[0]
            self.folders.setdefault(look(folder), folder)

    def is_taken(self, name: str) -> bool:
        return look(name) in self.files or look(name) in self.folders


def settle(arrivals: Iterable[Arrival], room: Room, clash: Clash) -> tuple[dict[str, Arrival], list[Note]]:
    """Give every arrival its name in the dataset.

    Returns:
        Name in the dataset -> what goes there, in the order they came, and a note on each that goes nowhere.
    """
    placed: dict[str, Arrival] = {}
    notes: list[Note] = []
    for group in _groups(arrivals):
        names = _names(group, room, clash)
        for arrival, name in zip(group, names, strict=True):
            if isinstance(name, DatasetError):
                notes.append(note(arrival.sent, name))
            else:
                placed[name] = arrival
                room.take(name, arrival.file)
    return placed, notes


def _groups(arrivals: Iterable[Arrival]) -> list[list[Arrival]]:
    """Files of one batch, folder and stem; what came twice under one name begins a group of its own."""
    groups: dict[tuple, list[Arrival]] = {}
    for arrival in arrivals:
        sent = PurePosixPath(unicodedata.normalize("NFC", arrival.sent))
        stem = str(sent if arrival.name == DATASET_FILE else sent.with_suffix(""))
        for again in itertools.count():
            group = groups.setdefault((arrival.batch, stem, again), [])
            if all(other.name != arrival.name for other in group):
                group.append(arrival)
                break
    return list(groups.values())


def _names(group: list[Arrival], room: Room, clash: Clash) -> list[str | DatasetError]:
    wished = [_in_folder(arrival.name, room) for arrival in group]
    if any("/" in name and look(name.split("/")[0]) in room.files for name in wished):
        return [taken(name) for name in wished]
    for number in itertools.count(1):
        names = wished if number == 1 else [_numbered(name, number) for name in wished]
        there = [_is_there(arrival, name, room) for arrival, name in zip(group, names, strict=True)]
        if all(there) or (number == 1 and not _clashes(names, there, room)):
            return [_there(name) if known else name for name, known in zip(names, there, strict=True)]
        if number > 1 and not any(room.is_taken(name) or _stem_look(name) in room.stems for name in names):
            return list(names)
        if number == 1 and (clash == "skip" or DATASET_FILE in wished):
            return [_there(name) if known else taken(name) for name, known in zip(names, there, strict=True)]
    raise AssertionError("numbers do not end")


def _clashes(names: list[str], there: list[bool], room: Room) -> bool:
    """Whether a name is taken by something else, or a new picture would share the caption of one that is there."""
    for name, known in zip(names, there, strict=True):
        beside = any(is_picture(other) for other in room.stems.get(_stem_look(name), ()))
        if not known and (room.is_taken(name) or (is_picture(name) and beside)):
            return True
    return False


def _in_folder(name: str, room: Room) -> str:
    """The name in the folder that is there, if one looks like it."""
    folder, slash, file = name.rpartition("/")
    return room.folders.get(look(folder), folder) + slash + file if slash else name


def _is_there(arrival: Arrival, name: str, room: Room) -> bool:
    known = room.files.get(look(name))
    try:
        return known is not None and known.is_file() and filecmp.cmp(known, arrival.file, shallow=False)
    except OSError:  # what cannot be read is something else
        return False


def _numbered(name: str, number: int) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(f"{path.stem} ({number}){path.suffix}"))


def _stem_look(name: str) -> str:
    return look(str(PurePosixPath(name).with_suffix("")))


def _there(name: str) -> DatasetError:
    return DatasetError("incoming.there", f"{name!r} is in the dataset already, the same to the byte.", name=name)


def taken(name: str) -> DatasetError:
    return DatasetError(
        "incoming.taken", f"The dataset has another file {name!r}, or another picture with its caption.",
        todo="Keep both, or rename one of them.", name=name,
    )  # fmt: skip
