"""The file of a dataset's history: what was done, undone and redone, in lines that are only ever appended.

An operation is two lines. The first, JSON, says what will be done, and is synced before any file changes. The second grows
by a dot with each finished step and ends when all is done, with `!` before its end where the steps were taken back. So a
second line without an end tells how far a killed process came, and a first one without an end never began:

    {"do": "apply", "label": "caption", "steps": [["write", "a.txt", "old", "new"], ["move", "b.png", "_excluded/b.png"]], ...}
    ..
    {"do": "undo"}
    ..

Large contents lie beside it, named by their SHA-256. Knows no files of the dataset; whoever appends holds the lock.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal

from engine.datasets.steps import Move, Step, Write
from engine.errors import DatasetError
from engine.workspace import atomic_write, sync_folder

Direction = Literal["apply", "undo", "redo"]
INLINE, STEPS_INLINE = 4096, 16_384
"""Bytes of a content, and characters of an operation's steps, that still stand in the line itself."""


class HistoryLog:
    """The history below `folder`.

    Attributes:
        entries: records of the operations that are done or may be redone, oldest first.
        position: how many of them are done.
        pending: the record of an operation that has begun and not ended, and its finished steps.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "journal.jsonl"
        self._forget()

    def _forget(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.position = 0
        self.pending: tuple[dict[str, Any], int] | None = None
        self._read_to, self._identity = 0, (0, 0)
        self._stream: IO[bytes] | None = None

    def refresh(self) -> None:
        """Read what was appended since, by whomever.

        Raises:
            DatasetError: `dataset.history_damaged`.
        """
        try:
            with self.file.open("rb") as stream:
                status = os.fstat(stream.fileno())
                if (status.st_dev, status.st_ino) != self._identity or status.st_size < self._read_to:
                    self._forget()
                    self._identity = status.st_dev, status.st_ino
                stream.seek(self._read_to)
                data = stream.read()
        except FileNotFoundError:
            return self._forget()
        try:
            self._fold(data)
        except (ValueError, LookupError, TypeError) as error:
            raise self._damaged(f"{self.file.name}: {error}") from error

    def _fold(self, data: bytes) -> None:
        self.pending = None
        while True:
            line, begun, rest = data.partition(b"\n")
            steps, ended, rest = rest.partition(b"\n")
            if not ended:
                self.pending = (json.loads(line), len(steps)) if begun else None
                return
            record = json.loads(line)
            if not steps.endswith(b"!"):
                if record["do"] == "apply":
                    self.entries[self.position :] = [record]
                self.position += -1 if record["do"] == "undo" else 1
                if not 0 <= self.position <= len(self.entries):
                    raise ValueError(f"there is nothing to {record['do']}")
            self._read_to += len(line) + len(steps) + 2
            data = rest

    def begin(self, record: dict[str, Any]) -> None:
        """Say, durably, what will be done."""
        new = not self.file.exists()
        if not new:
            os.truncate(self.file, self._read_to)  # a line that a killed process left half written
        stream = self.resume()
        try:
            stream.write(json.dumps(record).encode() + b"\n")
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(self._read_to)
            raise
        if new:
            sync_folder(self.folder)
            sync_folder(self.folder.parent)

    def resume(self) -> IO[bytes]:
        """Go on with the pending operation."""
        self._stream = self.file.open("ab", buffering=0)
        return self._stream

    def step_done(self) -> None:
        self._append(b".")

    def end(self, taken_back: bool = False) -> None:
        self._append(b"!\n" if taken_back else b"\n")
        self.refresh()

    def concerned(self, do: Direction) -> dict[str, Any] | None:
        """The record that the next undo or redo concerns, if there is one; None for a new operation."""
        index = {"undo": self.position - 1, "redo": self.position}.get(do, -1)
        return self.entries[index] if 0 <= index < len(self.entries) else None

    def close(self) -> None:
        if self._stream:
            self._stream.close()
            self._stream = None

    def _append(self, data: bytes) -> None:
        assert self._stream is not None, "begin() or resume() first"
        self._stream.write(data)

    def pack(self, steps: Iterable[Step]) -> list[list] | str:
        """Steps as they stand in a record: a list, or the name of the kept file that holds it."""
        packed = [
            ["move", step.source, step.target]
            if isinstance(step, Move)
            else ["write", step.name, self._pack(step.before), self._pack(step.after)]
            for step in steps
        ]
        text = json.dumps(packed)
        return packed if len(text) <= STEPS_INLINE else self._keep(text.encode())

    def unpack(self, packed: list[list] | str) -> list[Step]:
        """The inverse of `pack`.

        Raises:
            DatasetError: `dataset.history_damaged`.
        """
        listed = json.loads(self._kept(packed)) if isinstance(packed, str) else packed
        return [
            Move(*rest) if kind == "move" else Write(rest[0], self._unpack(rest[1]), self._unpack(rest[2]))
            for kind, *rest in listed
        ]

    def _pack(self, content: bytes | None) -> Any:
        if content is None:
            return None
        if len(content) > INLINE:
            return {"kept": self._keep(content)}
        try:
            return content.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(content).decode()}

    def _unpack(self, packed: Any) -> bytes | None:
        if isinstance(packed, dict):
            return self._kept(packed["kept"]) if "kept" in packed else base64.b64decode(packed["base64"])
        return None if packed is None else packed.encode()

    def _place(self, name: str) -> Path:
        return self.folder / "content" / name[:2] / name

    def _keep(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        if not self._place(name).exists():
            with atomic_write(self._place(name)) as stream:
                stream.write(content)
        return name

    def _kept(self, name: str) -> bytes:
        try:
            content = self._place(name).read_bytes()
        except OSError as error:
            raise self._damaged(f"{name}: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != name:
            raise self._damaged(f"{name} has been changed")
        return content

    def _damaged(self, reason: str) -> DatasetError:
        return DatasetError(
            "dataset.history_damaged", f"The history of the dataset {self.folder.parent.name!r} cannot be read: {reason}.",
            todo=f"Move the folder {self.folder.name} away; pictures and captions stay as they are, only undo begins anew.",
            name=self.folder.parent.name, folder=self.folder.name, reason=reason,
        )  # fmt: skip
