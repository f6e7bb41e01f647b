"""Every change to a dataset's files as one operation: all of it happens or nothing, nobody's edit is lost, all can be undone.

An operation states what it expects to find, so whoever changed a file in between wins and the other is told. It is written
down before the first file changes (`history_log`), so a killed process leaves the files as before or, once the folder is
opened again, as after. One operation at a time, across threads and processes. Knows no pictures and no captions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.datasets.history_log import Direction, HistoryLog
from engine.datasets.steps import HISTORY, Move, Step, Tree, Write
from engine.errors import DatasetError
from engine.jobs.lock import FileLock
from engine.workspace import SHIPPED_DATASETS

__all__ = ["Entry", "Journal", "Move", "Write"]

PATIENCE = 60.0
"""How long one operation waits for another, s."""


@dataclass(frozen=True)
class Entry:
    """An operation.

    Attributes:
        label: a stable word for what was done, which the page translates.
        values: what the label's sentence names.
        at: when, s since 1970.
    """

    label: str
    values: dict[str, Any]
    at: float
    steps: tuple[Step, ...]

    @property
    def names(self) -> list[str]:
        """Every file it touched, each once."""
        return list(dict.fromkeys(name for step in self.steps for name in step.names))


class Journal:
    """The history of the dataset `folder`. Any number of them may be open on one folder, in any number of processes.

    Raises:
        DatasetError: `dataset.not_a_folder`, `dataset.history_damaged`.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(os.path.abspath(folder))
        if not self.folder.is_dir():
            what = f"{str(folder)!r} is not a folder."
            raise DatasetError(
                "dataset.not_a_folder", what, "A dataset is a folder of pictures.", "Check the path.", folder=folder
            )
        self._log = HistoryLog(self.folder / HISTORY)
        self._guard = threading.RLock()
        self._log.refresh()
        if self._log.pending and not self.read_only:
            with self._alone():
                pass  # entering has finished it

    @property
    def read_only(self) -> bool:
        """It ships with the program or cannot be written."""
        shipped = self.folder.resolve().is_relative_to(SHIPPED_DATASETS.resolve())
        return shipped or not os.access(self.folder, os.W_OK)

    def check_writable(self) -> None:
        """Raises DatasetError: `dataset.read_only`."""
        if self.read_only:
            raise _read_only(self.folder)

    def apply(self, label: str, steps: Sequence[Step], values: Mapping[str, Any] | None = None) -> Entry:
        """Do the steps in their order as one operation. What had been undone can no longer be redone.

        Args:
            label: a stable word for what is done.
            steps: at least one; each expects the files as the steps before it leave them.
            values: plain data for the label's sentence.

        Raises:
            DatasetError: `dataset.conflict` (values: name) when a file is not as expected, `dataset.write_failed`; in both
                nothing is changed. `dataset.read_only`, `dataset.busy`.
            PathError: `path.outside`.
        """
        if not steps:
            raise ValueError("an operation has at least one step")
        with self._alone():
            tree = Tree(self.folder)
            tree.check(steps)
            record = {
                "do": "apply", "label": label, "values": dict(values or {}), "at": time.time(), "files": len(steps),
                "folders": tree.missing_folders(steps), "steps": self._log.pack(steps),
            }  # fmt: skip
            self._log.begin(record)
            self._carry_out(record, steps, tree)
            return _entry(record, steps)

    def undo(self) -> Entry | None:
        """Take the last operation back; None when there is none. Raises as `apply` does."""
        return self._travel("undo")

    def redo(self) -> Entry | None:
        """Do again what was undone last; None when there is nothing. Raises as `apply` does."""
        return self._travel("redo")

    def state(self) -> dict[str, Any]:
        """`undo`, `redo`: the label of the operation that each would concern, or None; `position`: how many of `entries` are
        done; `entries`: label, values, at (s since 1970) and files (how many were changed) of each, oldest first."""
        with self._guard:
            self._log.refresh()
            entries = [{key: record[key] for key in ("label", "values", "at", "files")} for record in self._log.entries]
            labels = [None, *(entry["label"] for entry in entries), None]
            position = self._log.position
            return {"undo": labels[position], "redo": labels[position + 1], "position": position, "entries": entries}

    def _travel(self, do: Direction) -> Entry | None:
        with self._alone():
            record = self._log.concerned(do)
            if record is None:
                return None
            steps, tree = self._steps(do, record), Tree(self.folder)
            tree.check(steps)
            self._log.begin({"do": do})
            self._carry_out({"do": do}, steps, tree)
            return _entry(record, steps)

    def _steps(self, do: Direction, record: Mapping[str, Any]) -> Sequence[Step]:
        steps = self._log.unpack(record["steps"])
        return [step.inverse() for step in reversed(steps)] if do == "undo" else steps

    def _resume(self, record: Mapping[str, Any], done: int) -> None:
        """Finish what a killed process had begun. It has done `done` steps, and perhaps one that it could not note."""
        concerned = self._log.concerned(record["do"]) or record
        self._log.resume()
        self._carry_out(record, self._steps(record["do"], concerned), Tree(self.folder), done, resumed=True)

    def _carry_out(
        self, record: Mapping[str, Any], steps: Sequence[Step], tree: Tree, done: int = 0, resumed: bool = False
    ) -> None:
        """The steps of a record that is in the log, from the step `done` on. Where one fails, all are taken back."""
        undoing = record["do"] == "undo"
        folders = (self._log.concerned(record["do"]) or record)["folders"]
        try:
            tree.prepare(steps)
            for step in steps[done:]:
                (tree.finish if resumed else tree.perform)(step)
                self._log.step_done()
                done += 1
            if undoing:
                tree.remove_folders(folders)
        except OSError:
            for step in reversed(steps[: done + 1]):
                tree.finish(step.inverse())
            if not undoing:
                tree.remove_folders(folders)
            self._log.end(taken_back=True)
            raise
        self._log.end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the dataset through a journal meanwhile, and what a killed process had begun is finished."""
        self.check_writable()
        with self._guard:
            lock = FileLock(self.folder / HISTORY / "lock")
            try:
                self._wait_for(lock)
                self._log.refresh()
                if self._log.pending:
                    self._resume(*self._log.pending)
                yield
            except OSError as error:
                raise _failed(error) from error
            finally:
                self._log.close()
                lock.release()

    def _wait_for(self, lock: FileLock) -> None:
        deadline = time.monotonic() + PATIENCE
        while not lock.acquire({"pid": os.getpid()}):
            if time.monotonic() > deadline:
                raise _busy(self.folder)
            time.sleep(0.002)


def _entry(record: Mapping[str, Any], steps: Sequence[Step]) -> Entry:
    return Entry(record["label"], record["values"], record["at"], tuple(steps))


def _read_only(folder: Path) -> DatasetError:
    return DatasetError(
        "dataset.read_only", f"The dataset {folder.name!r} cannot be changed: it ships with the program or is write-protected.",
        todo="Make a copy of it and change that.", name=folder.name,
    )  # fmt: skip


def _busy(folder: Path) -> DatasetError:
    return DatasetError(
        "dataset.busy", f"Another operation on the dataset {folder.name!r} has been running for {PATIENCE:g} s.",
        todo="Wait until it has ended, then repeat what you did.", name=folder.name, seconds=f"{PATIENCE:g}",
    )  # fmt: skip


def _failed(error: OSError) -> DatasetError:
    name, reason = Path(error.filename2 or error.filename or "").name, error.strerror or str(error)
    return DatasetError(
        "dataset.write_failed", f"{name!r} cannot be changed: {reason}.", "Everything is as it was before.",
        "Check free space and permissions, and close the file in other programs.", name=name, reason=reason,
    )  # fmt: skip
