"""New datasets, and copies that leave their source alone and never lead out of what is allowed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.datasets.incoming import copying, staging
from engine.datasets.incoming.copying import copy_dataset, create_dataset, import_folder
from engine.datasets.scan import scan
from engine.errors import DatasetError, PathError
from engine.workspace import SHIPPED_DATASETS, Workspace
from tests.support.pictures import png_header

PNG = png_header(64, 48)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace", remote=True).prepare()


@pytest.fixture
def source(workspace: Workspace) -> Path:
    folder = workspace.root / "datasets" / "old"
    for name in ("a.png", "a.txt", "20_robot/b.png", "metadata.jsonl", "dataset.yaml"):
        write(folder / name, name.encode() + PNG)
    return folder


def write(file: Path, data: bytes = PNG) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_dataset_is_empty_and_has_the_name(workspace: Workspace) -> None:
    assert create_dataset(" ロボット 🤖 ", workspace) == "ロボット 🤖"
    assert list(workspace.dataset_folder("ロボット 🤖").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "CON", ".hidden", "a\0", "<img src=x>"])
def test_a_bad_name_makes_nothing(workspace: Workspace, source: Path, name: str) -> None:
    before = tree(workspace.root)
    for make in (create_dataset, lambda name, workspace: copy_dataset(source, name, workspace)):
        with pytest.raises(PathError):
            make(name, workspace)
    assert tree(workspace.root) == before


def test_a_name_that_is_taken_comes_with_one_that_is_free(workspace: Workspace, source: Path) -> None:
    create_dataset("old-2", workspace)
    for make in (create_dataset, lambda name, workspace: copy_dataset(source, name, workspace)):
        with pytest.raises(DatasetError) as caught:
            make("OLD", workspace)
        assert caught.value.code == "dataset.exists"
        assert caught.value.values["suggestion"] == "OLD-3"
    assert create_dataset("OLD-3", workspace) == "OLD-3"


def test_a_copy_holds_everything_but_the_history(workspace: Workspace, source: Path) -> None:
    for name in (
        "_excluded/20_robot/c.png",
        "_excluded/c.txt",
        "_masks/20_robot/b.png",
        "_masks/_excluded/c.png",
        "_originals/a.png",
    ):
        write(source / name, name.encode() + PNG)
    kept = tree(source)
    write(source / "_history" / "journal.jsonl")
    before = tree(source)
    copied = copy_dataset(source, "new", workspace)
    assert copied.dataset == "new" and not copied.report.skipped
    assert tree(workspace.dataset_folder("new")) == kept
    assert tree(source) == before


def test_the_practice_dataset_can_be_copied_and_trained_on(workspace: Workspace) -> None:
    copy_dataset(workspace.dataset_folder("practice/mascot"), "mine", workspace)
    mine, shipped = (
        [
            (concept.name, concept.repeats, [(picture.path.name, picture.caption) for picture in concept.pictures])
            for concept in found
        ]
        for found in (scan(workspace.dataset_folder("mine")).concepts, scan(SHIPPED_DATASETS / "mascot").concepts)
    )
    assert mine == shipped


def test_what_cannot_come_along_is_named(workspace: Workspace) -> None:
    heap = workspace.root / "heap"
    for name in ("deep/er/a.png", "b.png", "train.py", "CON.png", ".git/config", "_own/c.png", "broken.png", "half \udcff.png"):
        write(heap / name, b"" if name == "broken.png" else PNG)
    copied = import_folder(str(heap), "new", workspace)
    assert set(tree(workspace.dataset_folder("new"))) == {"er/a.png", "b.png", "broken.png"}
    assert {note.name: note.reason.code for note in copied.report.skipped} == {
        "train.py": "incoming.not_wanted", "CON.png": "incoming.bad_name", ".git": "incoming.hidden",
        "_own/c.png": "incoming.own_folder", "half ?.png": "incoming.bad_name",
    }  # fmt: skip
    assert [note.name for note in copied.report.findings] == ["broken.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_are_followed_inside_only(workspace: Workspace, source: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside" / "secret.png", b"secret")
    heap = workspace.root / "heap"
    heap.mkdir()
    (heap / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (heap / "out").symlink_to(tmp_path / "outside")
    (heap / "gone.png").symlink_to(heap / "nothing.png")
    (heap / "round").symlink_to(heap)
    (heap / "in").symlink_to(source / "20_robot")
    os.mkfifo(heap / "pipe.png")
    copied = import_folder(str(heap), "new", workspace)
    assert tree(workspace.dataset_folder("new")) == {"in/b.png": (source / "20_robot" / "b.png").read_bytes()}
    assert {note.name: note.reason.code for note in copied.report.skipped} == {
        "out.png": "path.not_allowed", "out": "path.not_allowed", "gone.png": "incoming.unreadable",
        "pipe.png": "incoming.unreadable",
    }  # fmt: skip


@pytest.mark.parametrize("folder", ["/etc", "../..", "/no/such/folder", "\\\\host\\share", "file:///etc", "a\0b", "~root", ""])
def test_folders_outside_are_refused_in_the_same_words(workspace: Workspace, folder: str) -> None:
    with pytest.raises(PathError) as caught:
        import_folder(folder, "new", workspace)
    assert caught.value.code == "path.not_allowed"
    assert not (workspace.root / "datasets" / "new").exists()


def test_a_folder_without_pictures_makes_no_dataset(workspace: Workspace) -> None:
    write(workspace.root / "heap" / "a.txt")
    for folder, code in (("heap", "no_pictures"), ("nowhere", "not_a_folder")):
        with pytest.raises(DatasetError) as caught:
            import_folder(str(workspace.root / folder), "new", workspace)
        assert caught.value.code == f"dataset.{code}"
    assert list((workspace.root / "datasets").iterdir()) == []


def test_a_copy_that_breaks_off_leaves_nothing(workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, copies = copying.shutil.copyfile, []

    def breaking(file: Path, target: Path) -> None:
        copies.append(file)
        if len(copies) == 3:
            raise OSError(28, "No space left on device")
        whole(file, target)

    monkeypatch.setattr(copying.shutil, "copyfile", breaking)
    with pytest.raises(DatasetError) as caught:
        copy_dataset(source, "new", workspace)
    assert caught.value.code == "dataset.copy_failed"
    assert [entry.name for entry in (workspace.root / "datasets").iterdir()] == ["old"]


def test_a_copy_is_bounded(workspace: Workspace, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "MAX_FILES", 3)
    with pytest.raises(DatasetError) as caught:
        copy_dataset(source, "new", workspace)
    assert caught.value.code == "incoming.too_many"
    monkeypatch.setattr(copying, "MAX_FILES", 10)
    monkeypatch.setattr(staging, "RESERVE", 2**60)
    with pytest.raises(DatasetError) as caught:
        copy_dataset(source, "new", workspace)
    assert caught.value.code == "incoming.disk_full"
