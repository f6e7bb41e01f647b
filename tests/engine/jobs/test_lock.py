"""The lock: one holder, readable by all, freed by death."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.jobs.lock import FileLock

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys
from engine.jobs.lock import FileLock
lock = FileLock(sys.argv[1])
print(lock.acquire({"pid": 1, "url": "http://first"}), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "server.lock"


def hold(path: Path) -> subprocess.Popen[str]:
    """Another process that takes the lock and keeps it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert holder.stdout and holder.stdout.readline() == "True\n"
    return holder


def test_second_process_is_refused_and_told_who_holds_it(path: Path) -> None:
    holder = hold(path)
    try:
        lock = FileLock(path)
        assert not lock.acquire({"pid": 2})
        assert lock.read() == {"pid": 1, "url": "http://first"}
    finally:
        holder.communicate()


def test_a_killed_holder_frees_it(path: Path) -> None:
    holder = hold(path)
    holder.kill()
    holder.wait()
    lock = FileLock(path)
    assert lock.read()["pid"] == 1, "the dead one's words are still there"
    assert lock.acquire({"pid": 2})
    assert lock.read() == {"pid": 2}
    lock.release()


def test_reading_and_a_refused_second_lock_do_not_free_it(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    assert first.acquire({"pid": 1})
    assert not second.acquire({"pid": 2})
    assert second.read() == {"pid": 1}
    holder = subprocess.run(
        [sys.executable, "-c", HOLDER, str(path)], input="", stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True
    )
    assert holder.stdout == "False\n"
    first.release()
    assert second.acquire({"pid": 2})
    second.release()


def test_update_with_shorter_text_and_release(path: Path) -> None:
    lock = FileLock(path)
    assert lock.acquire({"pid": 1, "url": "http://a-rather-long-address:7860"})
    lock.update({"pid": 1})
    assert lock.read() == {"pid": 1}
    lock.release()
    lock.release()
    assert lock.read() == {}
    assert path.exists()


def test_words_that_are_not_a_table_read_as_none(path: Path) -> None:
    path.parent.mkdir()
    for text in ("[1]", "{", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        assert FileLock(path).read() == {}
