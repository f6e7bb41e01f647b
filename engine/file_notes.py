"""What was found out about files and took time: kept in the workspace's cache as long as a file does not change.

A file is known by its path, size and modification time. Losing the notes loses nothing but time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from engine.workspace import stamp

NAME = "files.sqlite3"
BUSY_SECONDS = 2.0
TABLE = """
CREATE TABLE IF NOT EXISTS notes (
    kind TEXT, path TEXT, size INTEGER, mtime_ns INTEGER, note TEXT, PRIMARY KEY (kind, path)
)
"""


class FileNotes:
    """Notes in `folder`, shared by all processes. Every note is whole or not there; a disk that cannot be written keeps none."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / NAME

    def read(self, kind: str, path: Path) -> str | None:
        """The note of this kind on a file as it is now."""
        return self.read_all(kind, [path]).get(path)

    def read_all(self, kind: str, paths: list[Path]) -> dict[Path, str]:
        """The same for many files."""
        kept: dict[str, tuple] = {}
        if self.file.is_file():
            with suppress(sqlite3.Error), self._open() as store:
                rows = store.execute("SELECT path, size, mtime_ns, note FROM notes WHERE kind = ?", (kind,))
                kept = {path: (size, mtime_ns, note) for path, size, mtime_ns, note in rows}
        return {path: row[2] for path in paths if (row := kept.get(str(path))) and row[:2] == stamp(path)}

    def write(self, kind: str, path: Path, note: str, seen: tuple[int, int]) -> None:
        """Keep a note on a file as it was when its stamp was `seen`."""
        self.write_all(kind, {path: (note, seen)})

    def write_all(self, kind: str, notes: dict[Path, tuple[str, tuple[int, int]]]) -> None:
        """Keep notes of one kind: path -> note and the file's stamp."""
        if not notes:
            return
        rows = [(kind, str(path), *seen, note) for path, (note, seen) in notes.items()]
        with suppress(sqlite3.Error, OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as store:
                store.execute(TABLE)
                store.executemany("INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        store = sqlite3.connect(self.file, timeout=BUSY_SECONDS)
        try:
            with store:
                yield store
        finally:
            store.close()
