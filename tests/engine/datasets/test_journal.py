from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.datasets import history_log, journal, steps
from engine.datasets.journal import Journal, Move, Write
from engine.errors import DatasetError, PathError
from engine.jobs.lock import FileLock
from engine.workspace import SHIPPED_DATASETS

ROOT = Path(__file__).parents[3]
Tree = dict[str, bytes]


def tree(folder: Path) -> Tree:
    """Every file and (empty) folder but the history."""
    found = {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"/" for path in folder.rglob("*")}
    return {name: content for name, content in found.items() if name.split("/")[0] != steps.HISTORY}


def lay_out(folder: Path, files: Tree) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


FILES = {
    "a.png": b"\x89PNG" + bytes(range(256)) * 40,
    "a.txt": "モフモ, red".encode(),
    "20_x/b.png": b"b",
    "20_x/b.txt": b"\xff\xfeb\0",
}
STEPS = [
    Move("a.png", "_originals/deep/a.png"),
    Write("a.png", None, b"cropped" * 1000),
    Write("a.txt", FILES["a.txt"], b""),
    Write("20_x/b.txt", FILES["20_x/b.txt"], None),
    Move("20_x/b.png", "_excluded/20_x/b.png"),
    Write("new/c.txt", None, b"c"),
]


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "set", FILES)


# ---- what is done can be undone ----


def test_operation_and_back_and_again(folder: Path) -> None:
    log = Journal(folder)
    before = tree(folder)
    done = log.apply("crop", STEPS, {"name": "a.png"})
    after = tree(folder)
    assert after["_originals/deep/a.png"] == FILES["a.png"] and after["a.txt"] == b"" and "20_x/b.txt" not in after
    assert done.names[:2] == ["a.png", "_originals/deep/a.png"] and done.values == {"name": "a.png"}
    assert log.state()["undo"] == "crop" and log.state()["redo"] is None
    undone = Journal(folder).undo()
    assert undone and undone.label == "crop" and tree(folder) == before
    assert log.state()["redo"] == "crop" and log.state()["position"] == 0
    assert log.redo() and tree(folder) == after
    assert log.redo() is None


def test_a_new_operation_after_undo_drops_what_could_be_redone(folder: Path) -> None:
    log = Journal(folder)
    for text in (b"1", b"2", b"3"):
        log.apply(text.decode(), [Write("a.txt", (folder / "a.txt").read_bytes(), text)])
    log.undo()
    log.undo()
    log.apply("4", [Write("a.txt", b"1", b"4")])
    state = Journal(folder).state()
    assert [entry["label"] for entry in state["entries"]] == ["1", "4"] and state["redo"] is None
    assert log.undo() and log.undo() and log.undo() is None
    assert tree(folder) == FILES | {"20_x": b"/"}


@st.composite
def histories(draw: st.DrawFn) -> tuple[Tree, list[list[Write | Move]]]:
    """Files, and operations that each fit what the ones before have left."""
    names = [f"{place}{stem}" for place in ("", "20_x/", "_excluded/20_x/") for stem in ("a.txt", "b.png", "絵 1.txt")]
    contents = st.binary(max_size=6) | st.sampled_from(["猫".encode(), b"x" * 5000, b"\r\n"])
    files = start = draw(st.dictionaries(st.sampled_from(names), contents, max_size=5))
    operations = []
    for _ in range(draw(st.integers(1, 5))):
        files, operation = dict(files), []
        for _ in range(draw(st.integers(1, 4))):
            name, target = draw(st.sampled_from(names)), draw(st.sampled_from(names))
            if name in files and target not in files and draw(st.booleans()):
                operation.append(Move(name, target))
                files[target] = files.pop(name)
            else:
                after = draw(st.none() | contents)
                operation.append(Write(name, files.pop(name, None), after))
                files |= {} if after is None else {name: after}
        operations.append(operation)
    return start, operations


@settings(max_examples=40, deadline=None)
@given(histories())
def test_undoing_everything_gives_every_byte_back(history: tuple[Tree, list[list[Write | Move]]]) -> None:
    files, operations = history
    with tempfile.TemporaryDirectory() as place:
        folder = lay_out(Path(place), files)
        seen = [tree(folder)]
        for operation in operations:
            Journal(folder).apply("x", operation)
            seen.append(tree(folder))
        log = Journal(folder)
        for expected in reversed(seen[:-1]):
            assert log.undo() and tree(folder) == expected
        for expected in seen[1:]:
            assert log.redo()
            assert {name: data for name, data in tree(folder).items() if data != b"/"} == {
                name: data for name, data in expected.items() if data != b"/"
            }


def test_mode_of_a_file_is_kept(folder: Path) -> None:
    (folder / "a.txt").chmod(0o640)
    Journal(folder).apply("x", [Write("a.txt", FILES["a.txt"], b"y")])
    assert (folder / "a.txt").stat().st_mode & 0o777 == 0o640


# ---- nobody's edit is lost ----


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ([Write("a.txt", b"other", b"mine")], "a.txt"),
        ([Write("a.txt", None, b"mine")], "a.txt"),
        ([Write("none.txt", b"", b"mine")], "none.txt"),
        ([Move("none.png", "b.png")], "none.png"),
        ([Move("a.png", "20_x/b.png")], "20_x/b.png"),
        ([Write("a.txt", FILES["a.txt"], b"1"), Write("a.txt", FILES["a.txt"], b"2")], "a.txt"),
        ([Move("a.png", "c.png"), Move("20_x/b.png", "c.png")], "c.png"),
    ],
)
def test_nothing_is_written_where_a_file_is_not_as_expected(folder: Path, operation: list[Write | Move], name: str) -> None:
    log, before = Journal(folder), tree(folder)
    with pytest.raises(DatasetError) as refused:
        log.apply("x", [Write("first.txt", None, b"1"), *operation])
    assert refused.value.code == "dataset.conflict" and refused.value.values == {"name": name}
    assert tree(folder) == before and log.state()["entries"] == []


def test_undo_leaves_what_something_else_has_changed(folder: Path) -> None:
    log = Journal(folder)
    log.apply("x", STEPS)
    (folder / "new/c.txt").write_bytes(b"theirs")
    after = tree(folder)
    with pytest.raises(DatasetError) as refused:
        log.undo()
    assert refused.value.values == {"name": "new/c.txt"} and tree(folder) == after
    (folder / "new/c.txt").write_bytes(b"c")
    assert log.undo() and tree(folder) == FILES | {"20_x": b"/"}


@pytest.mark.parametrize("name", ["../x", "/etc/x", "20_x/../../x", "", "20_x/", ".", "..", "_history/journal.jsonl", "_History/lock", "_history", "a\0b"])  # fmt: skip
def test_no_name_leaves_the_dataset_or_enters_its_history(folder: Path, name: str) -> None:
    log = Journal(folder)
    for operation in ([Write(name, None, b"x")], [Move("a.png", name)], [Move(name, "q.png")]):
        with pytest.raises(PathError) as refused:
            log.apply("x", operation)
        assert refused.value.code == "path.outside"
    assert tree(folder) == FILES | {"20_x": b"/"} and not (folder.parent / "x").exists()


def test_links_that_lead_out_are_not_followed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/s.txt").write_bytes(b"s")
    (folder / "l.txt").symlink_to(tmp_path / "secret/s.txt")
    (folder / "l").symlink_to(tmp_path / "secret")
    for operation in ([Write("l.txt", b"s", b"x")], [Write("l/s.txt", b"s", b"x")], [Move("a.png", "l/a.png")]):
        with pytest.raises(PathError):
            Journal(folder).apply("x", operation)
    assert tree(tmp_path / "secret") == {"s.txt": b"s"}


def test_what_ships_is_not_changed() -> None:
    log = Journal(SHIPPED_DATASETS / "mascot")
    assert log.read_only and log.state()["entries"] == []
    with pytest.raises(DatasetError) as refused:
        log.apply("x", [Write("x.txt", None, b"x")])
    assert refused.value.code == "dataset.read_only" and not (SHIPPED_DATASETS / "mascot" / steps.HISTORY).exists()


# ---- all or nothing ----


class Killed(BaseException):
    """The end of a process, at a line of the code."""


def killed_at(line: int, work: Callable[[], object]) -> bool:
    """Run `work`, end it before the given line of the journal's modules; whether there was such a line."""
    files = {module.__file__ for module in (journal, history_log, steps)}
    left = [line]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                raise Killed
        return trace

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "FileLock", Lock)
        sys.settrace(trace)
        try:
            work()
        except Killed:
            return True
        finally:
            sys.settrace(None)
            for lock in Lock.made:  # as the system does for a process that has gone
                lock.release()
            Lock.made.clear()
    return False


class Lock(FileLock):
    made: ClassVar[list[FileLock]] = []

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.made.append(self)


@pytest.mark.parametrize("way", ["apply", "undo", "redo"])
def test_killed_at_any_point_the_files_are_as_before_or_as_after(tmp_path: Path, way: str) -> None:
    start, kills, outcomes = lay_out(tmp_path / "start", {**FILES, "s1": b"1", "s2": b"2"}), 0, set()
    operation = [*STEPS, Move("s1", "s"), Move("s2", "s1"), Move("s", "s2"), Write("z", None, b"1"), Write("z", b"1", b"2")]
    before = tree(start)
    if way != "apply":
        Journal(start).apply("x", operation)
        before, after = tree(start), before
    if way == "redo":
        Journal(start).undo()
        before, after = tree(start), before
    work: dict[str, Callable[[Journal], object]] = {
        "apply": lambda log: log.apply("x", operation), "undo": Journal.undo, "redo": Journal.redo
    }  # fmt: skip
    if way == "apply":
        whole = Path(shutil.copytree(start, tmp_path / "whole"))
        work[way](Journal(whole))
        after = tree(whole)
    for line in count({"apply": 1, "undo": 2, "redo": 3}[way], 5):  # every fifth line, others for each way
        folder = Path(shutil.copytree(start, tmp_path / f"{line}"))
        log = Journal(folder)
        if not killed_at(line, lambda log=log: work[way](log)):
            break
        kills += 1
        opened = Journal(folder)
        now, state = tree(folder), opened.state()
        assert now in (before, after), line
        assert state["position"] == (1 if (now == after) == (way != "undo") else 0), line
        outcomes.add(now == after)
        again = {1: "undo", 0: "redo"}[state["position"]]
        if state[again]:
            getattr(opened, again)()
            assert tree(folder) == (before if now == after else after)
        shutil.rmtree(folder)
    assert kills > 50 and outcomes == {False, True}


def test_a_line_half_written_never_began(folder: Path) -> None:
    Journal(folder).apply("first", [Write("n.txt", None, b"1")])
    file = folder / steps.HISTORY / "journal.jsonl"
    whole = file.read_bytes()
    Journal(folder).apply("second", STEPS)
    second = file.read_bytes()[len(whole) :].split(b"\n")[0]
    Journal(folder).undo()
    for length in range(0, len(second), 25):
        file.write_bytes(whole + second[:length])
        log = Journal(folder)
        assert log.state()["undo"] == "first" and log.state()["redo"] is None
        log.apply("third", [Write("n.txt", b"1", b"3")])
        assert [entry["label"] for entry in Journal(folder).state()["entries"]] == ["first", "third"]
        log.undo()


@pytest.mark.parametrize("failing", ["replace", "rename", "unlink", "mkdir"])
def test_what_fails_half_way_is_taken_back(folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    log, before, real = Journal(folder), tree(folder), getattr(os, failing)
    failures = 0
    for fails_at in range(1, 4):
        calls = [0]

        def full(*args: Any, calls: list[int] = calls, fails_at: int = fails_at, **more: Any) -> Any:
            calls[0] += not any(word in str(arg) for arg in args for word in (".tmp", "content", "lock"))
            if calls[0] == fails_at:
                calls[0] += 1
                raise OSError(28, "No space left on device", str(args[0]))
            return real(*args, **more)

        with monkeypatch.context() as patched:
            patched.setattr(os, failing, full)
            try:
                log.apply("x", STEPS)
            except DatasetError as error:
                assert error.code == "dataset.write_failed" and "No space left" in error.what
                failures += 1
                assert tree(folder) == before and log.state()["entries"] == [] == Journal(folder).state()["entries"]
                continue
        log.undo()
        shutil.rmtree(folder / steps.HISTORY)
    assert failures


def test_a_killed_process_is_finished_by_the_next(folder: Path) -> None:
    """A real process, ended by the system in the middle of an operation on many files."""
    names = [f"p{index}.txt" for index in range(1000)]
    lay_out(folder, dict.fromkeys(names, b"old"))
    code = (
        "import os, sys, time; from engine.datasets.journal import Journal, Write; log, real = Journal(sys.argv[1]), os.replace\n"
        "os.replace = lambda *names: (time.sleep(0.005), real(*names)); print('go', flush=True)\n"
        "log.apply('x', [Write(f'p{index}.txt', b'old', b'new') for index in range(1000)])"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout and child.stdout.readline()
    while (folder / "p20.txt").read_bytes() == b"old":
        assert child.poll() is None
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    halfway = [(folder / name).read_bytes() for name in names].count(b"new")
    assert 20 < halfway < len(names)
    log = Journal(folder)
    assert {(folder / name).read_bytes() for name in names} == {b"new"}
    assert log.undo() and {(folder / name).read_bytes() for name in names} == {b"old"}


def test_files_of_a_large_operation_are_not_synced_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    Journal(folder).apply("x", [Write(f"{index}.txt", None, b"long, tags" * 20) for index in range(300)])
    assert 0 < len(synced) < 10


# ---- a history is input like any other ----


@pytest.mark.parametrize("harm", [b"no json\n..\n", b'{"do": "redo"}\n..\n{"do": "apply"', b"\xff\n\n"])
def test_a_damaged_history_is_named(folder: Path, harm: bytes) -> None:
    Journal(folder).apply("x", STEPS)
    file = folder / steps.HISTORY / "journal.jsonl"
    file.write_bytes(file.read_bytes() + harm)
    with pytest.raises(DatasetError) as refused:
        Journal(folder).undo()
    assert refused.value.code == "dataset.history_damaged"


def test_contents_that_were_changed_are_not_brought_back(folder: Path) -> None:
    log = Journal(folder)
    log.apply("x", [Write("a.png", FILES["a.png"], b"y")])
    after = tree(folder)
    (kept,) = (path for path in (folder / steps.HISTORY / "content").rglob("*") if path.is_file())
    kept.write_bytes(b"evil")
    with pytest.raises(DatasetError) as refused:
        log.undo()
    assert refused.value.code == "dataset.history_damaged" and tree(folder) == after


def test_an_operation_waits_for_the_one_before_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PATIENCE", 0.05)
    log = Journal(folder)
    log.apply("x", [Write("n.txt", None, b"1")])
    lock = FileLock(folder / steps.HISTORY / "lock")
    assert lock.acquire({})
    with pytest.raises(DatasetError) as refused:
        log.apply("y", [Write("n.txt", b"1", b"2")])
    assert refused.value.code == "dataset.busy"
    lock.release()
    assert log.undo()
