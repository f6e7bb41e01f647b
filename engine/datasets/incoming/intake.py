"""An upload: files and archives come one by one, and all get their places in the dataset at the end, or none.

Nothing is judged by its pixels here. A picture whose header cannot be read comes in too and is named, since it is the owner's to
repair; one that could not be decoded for its size stays outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engine.datasets.decode import picture_size
from engine.datasets.incoming.archive import members, open_archive, unpacked
from engine.datasets.incoming.names import Note, arrival_name, is_picture, note, safe_parts, shown, size_limit
from engine.datasets.incoming.placing import Arrival, Clash, Room, settle, taken
from engine.datasets.incoming.staging import Staging, check_disk
from engine.datasets.journal import Journal
from engine.errors import DatasetError, EngineError, PathError
from engine.workspace import Workspace, safe_join

OF_THE_FILE = ("picture.too_large", "incoming.file_too_large")
"""Errors that concern one file; the others end the upload."""


@dataclass(frozen=True)
class IntakeReport:
    """What became of what was sent.

    Attributes:
        added: names in the dataset, in the order the files came.
        renamed: of these, the ones whose name was taken: (name sent, name in the dataset).
        skipped: what did not come in.
        findings: pictures that came in and cannot be read, by their name in the dataset.
    """

    added: list[str]
    renamed: list[tuple[str, str]]
    skipped: list[Note]
    findings: list[Note]


class Intake:
    """One upload into the dataset `folder`. Several threads may send at once; `finish` or `cancel` ends it.

    Raises:
        PathError: `path.not_allowed`.
        DatasetError: `dataset.not_a_folder`, `dataset.read_only`.
    """

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        Journal(workspace.allowed_path(str(folder))).check_writable()
        self.folder = folder
        self._staging: Staging | None = Staging(folder)
        self._batches = itertools.count(1)
        self._arrivals: list[Arrival] = []
        self._skipped: list[Note] = []

    def receive(self, name: str, chunks: Iterable[bytes]) -> None:
        """Take a file. The bytes of one that may not come in are not read; the report names it.

        Raises:
            DatasetError: `incoming.too_many`, `incoming.too_much`, `incoming.disk_full`, `incoming.ended`.
        """
        staging = self._alive()
        try:
            self._arrivals.append(_stage(staging, name, arrival_name(safe_parts(name)), chunks))
        except EngineError as error:
            self._skipped.append(_of_the_file(name, error))

    def receive_archive(self, name: str, chunks: Iterable[bytes]) -> None:
        """Take what a .zip holds: all of it or, where this raises, nothing.

        Raises:
            PathError: `incoming.unsafe_name`.
            DatasetError: as `open_archive`, `members`, `unpacked` and `receive`.
        """
        staging, label = self._alive(), shown(PurePosixPath(name.replace("\\", "/")).name)
        file = staging.write(chunks, label)
        arrivals: list[Arrival] = []
        try:
            with open_archive(file, label) as archive:
                found, notes = members(archive, file.stat().st_size, label)
                check_disk(self.folder, sum(member.info.file_size for member in found))
                batch = next(self._batches)
                for member in found:
                    pieces = unpacked(archive, member, label)
                    try:
                        arrivals.append(_stage(staging, member.sent, member.name, pieces, batch))
                    except EngineError as error:
                        notes.append(_of_the_file(member.sent, error))
        except BaseException:
            for arrival in arrivals:
                staging.drop(arrival.file)
            raise
        finally:
            staging.drop(file)
        self._arrivals += arrivals
        self._skipped += notes

    def finish(self, clash: Clash = "keep_both") -> IntakeReport:
        """Put everything in its place.

        Args:
            clash: what becomes of a file whose name is taken by something else: it gets a number, together with what belongs to
                it, or it is left out.

        Raises:
            DatasetError: `incoming.ended`, `dataset.unreadable_folder`.
        """
        staging = self._alive()
        placed, notes = settle(self._arrivals, Room.of(self.folder), clash)
        lost = staging.place({name: arrival.file for name, arrival in placed.items()})
        self._staging = None
        notes += [note(placed.pop(name).sent, self._why_not(name)) for name in lost]
        return report_of(placed, self._skipped + notes)

    def cancel(self) -> None:
        """Leave everything as it was; harmless when it has ended."""
        if self._staging:
            self._staging.discard()
            self._staging = None

    def _why_not(self, name: str) -> EngineError:
        """Why a file could not be put in its place."""
        try:
            safe_join(self.folder, name)
        except PathError as error:  # a folder of the dataset is a link that leads out of it
            return error
        return taken(name)

    def _alive(self) -> Staging:
        if self._staging is None:
            raise DatasetError("incoming.ended", "This upload has ended.", todo="Begin a new one.")
        return self._staging


def report_of(placed: dict[str, Arrival], skipped: list[Note]) -> IntakeReport:
    """Args:
    placed: name in the dataset -> what went there.
    """
    renamed = [(shown(arrival.sent), name) for name, arrival in placed.items() if arrival.name != name]
    findings = [note(name, arrival.problem) for name, arrival in placed.items() if arrival.problem]
    return IntakeReport(list(placed), renamed, skipped, findings)


def _stage(staging: Staging, sent: str, name: str, chunks: Iterable[bytes], batch: int = 0) -> Arrival:
    """Raises DatasetError: one of `OF_THE_FILE`, or as `Staging.write`."""
    file = staging.write(chunks, shown(sent), size_limit(name))
    problem = None
    if is_picture(name):
        try:
            picture_size(file, name)
        except DatasetError as error:
            if error.code in OF_THE_FILE:
                staging.drop(file)
                raise
            problem = error
    return Arrival(sent, name, file, batch, problem)


def _of_the_file(name: str, error: EngineError) -> Note:
    """A note on the one file, or the error again if it is one of the whole upload."""
    if isinstance(error, PathError) or error.code in OF_THE_FILE:
        return note(name, error)
    raise error
