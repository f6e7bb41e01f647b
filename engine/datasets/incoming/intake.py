"""Files on their way into a dataset: kept in a hidden folder of it until all have come, then all put in their places by renaming.

Nothing of an upload that is cancelled or breaks off stays, and an archive comes in whole or not at all. The hidden folder is locked
by its owner; the next upload clears away what a killed one left, or ends it where the renaming had begun.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.datasets.decode import picture_size
from engine.datasets.incoming.archive import members, open_archive, unpacked
from engine.datasets.incoming.limits import Limits, check_size
from engine.datasets.incoming.names import PICTURES, Note, arrival_name, note, safe_parts, shown
from engine.datasets.incoming.placing import Arrival, Clash, Room, settle
from engine.errors import DatasetError, EngineError, PathError
from engine.jobs.lock import FileLock
from engine.workspace import Workspace, atomic_write, sync_folder

PREFIX = ".incoming-"
PLAN = "plan.json"
"""What goes where, written before the first file is renamed."""


@dataclass(frozen=True)
class IntakeReport:
    """What became of an upload.

    Attributes:
        added: names in the dataset, in the order the files came.
        renamed: of these, the ones that did not get the name they were sent under: name sent -> name in the dataset.
        skipped: what did not come in.
        findings: pictures that came in but cannot be read.
    """

    added: list[str] = field(default_factory=list)
    renamed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[Note] = field(default_factory=list)
    findings: list[Note] = field(default_factory=list)


class Intake:
    """One upload into `folder`. Several threads may receive at once.

    Raises:
        PathError: `path.not_allowed`.
        DatasetError: `dataset.read_only`.
    """

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        check_writable(workspace.allowed_path(str(folder)))
        self.folder = folder
        clear_away(folder)
        self._staging, self._hold = _make_staging(folder)
        self._limits = Limits(folder)
        self._guard = threading.Lock()
        self._files = 0
        self._batches = 0
        self._open = True
        self._arrivals: list[Arrival] = []
        self._skipped: list[Note] = []
        self._findings: list[Note] = []

    def receive(self, name: str, chunks: Iterable[bytes]) -> None:
        """Take a file. One that may not come in is noted, and its bytes are not read.

        Raises:
            DatasetError: `incoming.too_many`, `incoming.too_much`, `incoming.disk_full`, `incoming.ended`.
        """
        self._check_open()
        try:
            wished = arrival_name(safe_parts(name))
            found = self._take(name, wished, chunks, batch=0)
        except _Unwanted as unwanted:
            self._skipped.append(note(name, unwanted.reason))
        except PathError as error:
            self._skipped.append(note(name, error))
        else:
            self._add([found])

    def receive_archive(self, name: str, chunks: Iterable[bytes]) -> None:
        """Take what a .zip holds; all of it or, when it raises, nothing.

        Raises:
            PathError: `incoming.unsafe_name`.
            DatasetError: `archive.*`; as `receive`.
        """
        self._check_open()
        label = shown(PurePosixPath(name.replace("\\", "/")).name)
        file = self._write(chunks)
        try:
            with open_archive(file, label) as archive:
                found, notes = members(archive, file.stat().st_size, label)
                self._limits.expect(sum(member.info.file_size for member in found))
                with self._guard:
                    self._batches += 1
                    batch = self._batches
                taken: list[_Taken] = []
                try:
                    for member in found:
                        try:
                            taken.append(self._take(member.sent, member.name, unpacked(archive, member, label), batch))
                        except _Unwanted as unwanted:
                            notes.append(note(member.sent, unwanted.reason))
                except BaseException:
                    for each in taken:
                        self._drop(each.arrival.file)
                    raise
        finally:
            self._drop(file)
        self._skipped += notes
        self._add(taken)

    def finish(self, clash: Clash = "keep_both") -> IntakeReport:
        """Put everything in its place.

        Args:
            clash: what becomes of a file whose name is taken by another: it gets a number, together with what belongs to it, or is
                left out.

        Raises:
            DatasetError: `incoming.ended`, `dataset.unreadable_folder`.
        """
        self._check_open()
        placed, notes = settle(self._arrivals, Room.of(self.folder), clash)
        with atomic_write(self._staging / PLAN, "w") as stream:
            json.dump({arrival.file.name: name for name, arrival in placed.items()}, stream)
        _carry_out(self._staging, self.folder)
        self.cancel()
        there = {arrival.sent for arrival in placed.values()}
        return IntakeReport(
            list(placed),
            [(shown(arrival.sent), name) for name, arrival in placed.items() if _nfc(arrival.sent) != name],
            self._skipped + notes,
            [found for found in self._findings if found.name in there],
        )
