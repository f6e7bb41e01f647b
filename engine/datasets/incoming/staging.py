"""The hidden folder in which files wait until all have come: bounded in bytes, files and disk, and cleared away whatever happens.

It lies inside the dataset, since only there is it certain to be on the same file system. Its owner holds a lock in it. A folder
without a living owner is removed by the next one to come, or brought to its end where the renaming had begun.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from engine.errors import DatasetError, PathError
from engine.jobs.lock import FileLock
from engine.workspace import atomic_write, safe_join, sync_folder

PREFIX = ".incoming-"
PLAN = "plan.json"
"""What goes where, written before the first file is renamed."""
LOCK = "lock"
MAX_FILES = 50_000
MAX_BYTES = 32 * 2**30
"""Of one upload, an archive and what is in it counted."""
RESERVE = 512 * 2**20
"""Bytes of the disk that stay free."""


class Staging:
    """A place for the files of one upload into `dataset`. Several threads may write at once."""

    def __init__(self, dataset: Path) -> None:
        clear_away(dataset)
        self.dataset = dataset
        self._guard = threading.Lock()
        self._bytes = self._files = self._names = 0
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=dataset))
            self._lock = FileLock(self.folder / LOCK)
            if self._lock.acquire({"pid": os.getpid()}):  # else another one is clearing it away
                break

    def write(self, chunks: Iterable[bytes], name: str, most: int = MAX_BYTES) -> Path:
        """Keep bytes under a number.

        Args:
            name: what they are called in an error.
            most: bytes that this file may have.

        Raises:
            DatasetError: `incoming.file_too_large`, `incoming.too_many`, `incoming.too_much`, `incoming.disk_full`.
        """
        with self._guard:
            self._names += 1
            file = self.folder / str(self._names)
        self._count(files=1)
        size = 0
        try:
            with atomic_write(file) as stream:
                for chunk in chunks:
                    size += len(chunk)
                    self._count(size=len(chunk))
                    if size > most:
                        raise file_too_large(name, most)
                    check_disk(self.folder, len(chunk))
                    stream.write(chunk)
        except BaseException as error:
            self._count(-size, -1)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(0) from error
            raise
        return file

    def drop(self, file: Path) -> None:
        self._count(-file.stat().st_size, -1)
        file.unlink()

    def place(self, plan: Mapping[str, Path]) -> list[str]:
        """Rename every file to its name in the dataset, and end. Returns the names that could not be given."""
        with atomic_write(self.folder / PLAN, "w") as stream:
            json.dump({file.name: name for name, file in plan.items()}, stream)
        _carry_out(self.folder)
        taken = [name for name, file in plan.items() if file.exists()]
        self.discard()
        return taken

    def discard(self) -> None:
        """Remove it with everything that is still in it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _count(self, size: int = 0, files: int = 0) -> None:
        with self._guard:
            self._bytes += size
            self._files += files
            if files > 0 and self._files > MAX_FILES:
                self._files -= files
                raise too_many()
        if size > 0 and self._bytes > MAX_BYTES:
            raise DatasetError(
                "incoming.too_much", f"These are more than {MAX_BYTES >> 30} GiB.",
                todo="Take them in parts.", most=MAX_BYTES >> 30,
            )  # fmt: skip


def check_disk(folder: Path, size: int) -> None:
    """Raises DatasetError: `incoming.disk_full` when that many bytes more would fill the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + RESERVE:
        raise disk_full(free)


def clear_away(dataset: Path) -> None:
    """Remove what uploads left whose process was killed; where one had begun to put its files in place, do the rest first."""
    for folder in dataset.glob(f"{PREFIX}*"):
        lock = FileLock(folder / LOCK)
        if lock.acquire({"pid": os.getpid()}):
            _carry_out(folder)
            lock.release()
            shutil.rmtree(folder, ignore_errors=True)


def _carry_out(folder: Path) -> None:
    """Do what the plan in a folder says, as far as it is not done."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return
    folders = {folder.parent}
    for number, name in plan.items():
        with suppress(PathError):  # a link in the dataset; or a plan that came from elsewhere, with its folder
            file, target = safe_join(folder, number), safe_join(folder.parent, name)
            if file.exists() and not os.path.lexists(target):
                target.parent.mkdir(exist_ok=True)
                os.rename(file, target)
                folders.add(target.parent)
    for each in folders:
        sync_folder(each)


def too_many() -> DatasetError:
    what = f"These are more than {MAX_FILES:,} files."
    return DatasetError("incoming.too_many", what, todo="Take them in parts.", most=MAX_FILES)


def file_too_large(name: str, most: int) -> DatasetError:
    return DatasetError(
        "incoming.file_too_large", f"{name!r} is too large.", f"At most {most >> 20} MiB.", name=name, most=most >> 20
    )  # fmt: skip


def disk_full(free: int) -> DatasetError:
    return DatasetError(
        "incoming.disk_full", f"There is not enough room on the disk: {free >> 20} MiB are free.",
        f"{RESERVE >> 20} MiB must stay free.", "Make room and send it again.", free=free >> 20,
    )  # fmt: skip
