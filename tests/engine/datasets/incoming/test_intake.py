"""An upload gives a dataset all it was sent, or nothing, whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.datasets.incoming import staging
from engine.datasets.incoming.intake import Intake
from engine.datasets.incoming.staging import clear_away
from engine.errors import DatasetError, PathError
from engine.workspace import SHIPPED_DATASETS, Workspace
from tests.support.pictures import READABLE, make_nasty, make_photos, png_header

ROOT = Path(__file__).parents[4]
PNG = png_header(64, 48)
KILLED = """
import os, signal, sys
from pathlib import Path
from engine.datasets.incoming import staging
from engine.datasets.incoming.intake import Intake
from engine.workspace import Workspace

folder, at = Path(sys.argv[1]), sys.argv[2]
renamed, rename = [], os.rename

def die(source, target):
    renamed.append(target)
    if len(renamed) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target)

def half():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)

intake = Intake(Workspace(folder.parents[1]), folder)
for number in range(5):
    intake.receive(f"20_x/{number}.png", [b"x" * 1000])
if at == "sending":
    intake.receive("last.png", half())
if at == "placing":
    staging.os.rename = die
    intake.finish()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace").prepare()


@pytest.fixture
def dataset(workspace: Workspace) -> Path:
    folder = workspace.root / "datasets" / "robots"
    folder.mkdir()
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if not path.is_dir()}


def pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 1000] for at in range(0, len(data), 1000))


def test_what_is_sent_comes_in_byte_for_byte_at_the_end(workspace: Workspace, dataset: Path, tmp_path: Path) -> None:
    sent = {path.name: path.read_bytes() for path in make_photos(tmp_path / "photos", 6, seed=0)}
    intake = Intake(workspace, dataset)
    for name, data in sent.items():
        intake.receive(f"20_ロボット/{name}", pieces(data))
    assert [path for path in dataset.iterdir() if not path.name.startswith(".")] == []
    report = intake.finish()
    assert report.added == [f"20_ロボット/{name}" for name in sent] and not (report.skipped or report.renamed or report.findings)
    assert tree(dataset) == {f"20_ロボット/{name}": data for name, data in sent.items()}


def test_a_cancelled_upload_leaves_nothing(workspace: Workspace, dataset: Path) -> None:
    intake = Intake(workspace, dataset)
    intake.receive("a.png", [PNG])
    intake.cancel()
    intake.cancel()
    assert list(dataset.iterdir()) == []
    for ended in (intake.finish, lambda: intake.receive("b.png", [PNG]), lambda: intake.receive_archive("c.zip", [])):
        with pytest.raises(DatasetError) as caught:
            ended()
        assert caught.value.code == "incoming.ended"


def test_a_connection_that_breaks_takes_its_own_file_only(workspace: Workspace, dataset: Path) -> None:
    def breaking() -> Iterator[bytes]:
        yield PNG
        raise ConnectionError

    intake = Intake(workspace, dataset)
    intake.receive("a.png", [PNG])
    for receive in (intake.receive, intake.receive_archive):
        with pytest.raises(ConnectionError):
            receive("b.png", breaking())
    assert intake.finish().added == ["a.png"]
    assert tree(dataset) == {"a.png": PNG}


def test_the_nasty_pictures_come_in_and_the_broken_ones_are_named(workspace: Workspace, dataset: Path, tmp_path: Path) -> None:
    nasty = {name: path for name, path in make_nasty(tmp_path / "nasty").items() if path.exists()}
    intake = Intake(workspace, dataset)
    for path in nasty.values():
        intake.receive(path.name, [path.read_bytes()])
    report = intake.finish()
    named = {note.name for note in report.findings}
    assert named == {nasty[name].name for name in ("empty", "html", "postscript", "heic")}
    assert [(note.name, note.reason.code) for note in report.skipped] == [("bomb.png", "picture.too_large")]
    assert set(report.added) - named == {nasty[name].name for name in (*READABLE, "truncated")}


def test_files_that_may_not_come_in_are_not_even_read(workspace: Workspace, dataset: Path) -> None:
    def untouched() -> Iterator[bytes]:
        raise AssertionError("read")
        yield b""

    names = ["../evil.png", "/etc/passwd", "C:\\x.png", "movie.mp4", "CON.png", "_history/journal.jsonl", "a\0.png"]
    intake = Intake(workspace, dataset)
    for name in names:
        intake.receive(name, untouched())
    report = intake.finish()
    assert len(report.skipped) == len(names) and list(dataset.iterdir()) == []


@pytest.mark.parametrize("clash", ["keep_both", "skip"])
def test_nothing_that_is_there_changes(workspace: Workspace, dataset: Path, clash: str) -> None:
    before = {"a.png": PNG, "a.txt": b"words", "dataset.yaml": b"version: 1\n"}
    for name, data in before.items():
        (dataset / name).write_bytes(data)
    intake = Intake(workspace, dataset)
    for name in before:
        intake.receive(name, [b"other"])
    report = intake.finish(clash)
    after = tree(dataset)
    assert {name: after[name] for name in before} == before
    if clash == "skip":
        assert after == before and len(report.skipped) == 3
    else:
        assert after["a (2).png"] == after["a (2).txt"] == b"other" and len(report.skipped) == 1


def test_a_name_that_is_taken_while_files_are_placed_is_not_overwritten(
    workspace: Workspace, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = Intake(workspace, dataset)
    intake.receive("a.png", [PNG])
    monkeypatch.setattr(staging.json, "dump", lambda plan, stream: (stream.write('{"1": "a.png"}'), (dataset / "a.png").touch()))
    report = intake.finish()
    assert (report.added, [note.reason.code for note in report.skipped]) == ([], ["incoming.taken"])
    assert tree(dataset) == {"a.png": b""}


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_folder_that_is_a_link_out_of_the_dataset_takes_nothing(workspace: Workspace, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (dataset / "out").symlink_to(tmp_path / "outside")
    intake = Intake(workspace, dataset)
    intake.receive("out/a.png", [PNG])
    report = intake.finish()
    assert [(note.name, note.reason.code) for note in report.skipped] == [("out/a.png", "path.outside")]
    assert report.added == [] and list((tmp_path / "outside").iterdir()) == []


def test_several_threads_may_send_at_once(workspace: Workspace, dataset: Path) -> None:
    intake = Intake(workspace, dataset)

    def send(thread: int) -> None:
        for number in range(20):
            intake.receive(f"{thread}-{number}.txt", [f"{thread} ".encode(), b"%d" % number])

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(intake.finish().added) == 80
    assert tree(dataset)["3-7.txt"] == b"3 7"


def test_two_uploads_at_once_leave_each_other_alone(workspace: Workspace, dataset: Path) -> None:
    first, second = Intake(workspace, dataset), Intake(workspace, dataset)
    first.receive("a.png", [PNG])
    second.receive("a.png", [PNG + b"2"])
    assert first.finish().added == ["a.png"]
    assert second.finish().renamed == [("a.png", "a (2).png")]


@pytest.mark.parametrize(
    ("limit", "value", "code"),
    [("MAX_FILES", 3, "too_many"), ("MAX_BYTES", 3 * len(PNG), "too_much"), ("RESERVE", 2**60, "disk_full")],
)
def test_an_upload_is_bounded(workspace: Workspace, dataset: Path, monkeypatch, limit: str, value: int, code: str) -> None:
    monkeypatch.setattr(staging, limit, value)
    intake = Intake(workspace, dataset)
    with pytest.raises(DatasetError) as caught:
        for number in range(4):
            intake.receive(f"{number}.png", [PNG])
    assert caught.value.code == f"incoming.{code}"
    intake.cancel()
    assert list(dataset.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit")
def test_a_full_disk_is_told_as_such(workspace: Workspace, dataset: Path) -> None:
    code = (
        "import errno, os, sys; from pathlib import Path; from engine.datasets.incoming.intake import Intake\n"
        "from engine.workspace import Workspace; from engine.errors import DatasetError\n"
        "def full():\n    yield b'x'\n    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "intake = Intake(Workspace(Path(sys.argv[1])), Path(sys.argv[1], 'datasets', 'robots'))\n"
        "try:\n    intake.receive('a.png', full())\nexcept DatasetError as error:\n    print(error.code)\nintake.cancel()"
    )
    run = [sys.executable, "-c", code, str(workspace.root)]
    assert subprocess.run(run, cwd=ROOT, capture_output=True, text=True).stdout.strip() == "incoming.disk_full"
    assert list(dataset.iterdir()) == []


def test_one_file_too_large_is_left_out(workspace: Workspace, dataset: Path) -> None:
    intake = Intake(workspace, dataset)
    intake.receive("a.txt", (bytes(1000) for _ in range(2000)))
    intake.receive("b.txt", [b"fine"])
    report = intake.finish()
    assert [(note.name, note.reason.code) for note in report.skipped] == [("a.txt", "incoming.file_too_large")]
    assert tree(dataset) == {"b.txt": b"fine"}


def test_a_large_file_costs_no_memory(workspace: Workspace, dataset: Path) -> None:
    intake = Intake(workspace, dataset)
    tracemalloc.start()
    try:
        intake.receive("a.png", (bytes(2**16) for _ in range(500)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    intake.cancel()
    assert peak < 2 * 2**20


def test_what_ships_with_the_program_takes_nothing(workspace: Workspace) -> None:
    with pytest.raises(DatasetError) as caught:
        Intake(workspace, SHIPPED_DATASETS / "mascot")
    assert caught.value.code == "dataset.read_only"


def test_folders_outside_take_nothing(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "workspace").mkdir()
    with pytest.raises(PathError) as caught:
        Intake(Workspace(tmp_path / "workspace", remote=True), tmp_path / "elsewhere")
    assert caught.value.code == "path.not_allowed"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.parametrize("at", ["waiting", "sending", "placing"])
def test_a_killed_upload_comes_in_whole_or_leaves_nothing(workspace: Workspace, dataset: Path, at: str) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(dataset), at], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    visible = {name for name in tree(dataset) if not name.startswith(".")}
    assert len(visible) == (2 if at == "placing" else 0)
    Intake(workspace, dataset).cancel()
    expected = {f"20_x/{number}.png": b"x" * 1000 for number in range(5)} if at == "placing" else {}
    assert tree(dataset) == expected
    assert not [entry for entry in os.listdir(dataset) if entry.startswith(".")]


def test_a_plan_from_elsewhere_moves_nothing(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    for plan in ('{"1": "../../evil.png"}', '{"../../../../secret.png": "a.png"}', "nonsense"):
        planted = dataset / f"{staging.PREFIX}x"
        planted.mkdir()
        (planted / "1").write_bytes(b"evil")
        (planted / staging.PLAN).write_text(plan)
        clear_away(dataset)
        assert list(dataset.iterdir()) == []
    assert (tmp_path / "secret.png").exists() and not list(tmp_path.rglob("evil.png"))
