"""Notes on files: kept while the file stays, gone when it changes, never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from engine.file_notes import NAME, FileNotes
from engine.workspace import stamp


def test_a_note_lasts_as_long_as_the_file_does_not_change(tmp_path: Path) -> None:
    notes, file = FileNotes(tmp_path / "cache"), tmp_path / "a"
    assert notes.read("hash", file) is None
    file.write_bytes(b"one")
    notes.write("hash", file, "1", stamp(file))
    assert FileNotes(tmp_path / "cache").read("hash", file) == "1" and notes.read("card", file) is None
    os.utime(file, ns=(5, 5))
    assert notes.read("hash", file) is None
    notes.write("hash", file, "2", stamp(file))
    assert notes.read_all("hash", [file, tmp_path / "b"]) == {file: "2"}
    file.unlink()
    assert notes.read("hash", file) is None


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.file_notes import FileNotes\n"
        "for i in range(40): FileNotes(Path(sys.argv[1])).write('hash', Path(sys.argv[2] + str(i)), 'x', (0, 0))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, tmp_path, name], cwd=Path(__file__).parents[2]) for name in "ab"]
    assert [each.wait() for each in running] == [0, 0]
    paths = [Path(f"{name}{i}") for name in "ab" for i in range(40)]
    assert len(FileNotes(tmp_path).read_all("hash", paths)) == 80


def test_a_store_that_is_damaged_or_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all, but long enough to be looked at" * 20)
    (tmp_path / "file").touch()
    for notes in (FileNotes(tmp_path), FileNotes(tmp_path / "file")):
        notes.write("hash", tmp_path / "file", "1", stamp(tmp_path / "file"))
        assert notes.read("hash", tmp_path / "file") is None
