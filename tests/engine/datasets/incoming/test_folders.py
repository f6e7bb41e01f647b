"""The folders one may choose from."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.datasets.incoming import folders
from engine.datasets.incoming.folders import browse
from engine.errors import PathError
from engine.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "workspace"
    for name in (
        "pictures/10.png",
        "pictures/2.JPG",
        "pictures/note.txt",
        "pictures/sub/a.webp",
        ".hidden/a.png",
        "b 10/x",
        "b 2/x",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (tmp_path / "outside").mkdir()
    return Workspace(root, remote=True)


def test_folders_with_their_pictures_in_natural_order(workspace: Workspace) -> None:
    shown = browse(str(workspace.root), workspace)
    assert [(folder.name, folder.pictures) for folder in shown.folders] == [("b 2", 0), ("b 10", 0), ("pictures", 2)]
    inner = browse(shown.folders[-1].path, workspace)
    assert [(folder.name, folder.pictures) for folder in inner.folders] == [("sub", 1)]
    assert browse(inner.parent, workspace) == shown
    assert shown.parent == "" and browse("", workspace).parent is None


def test_it_begins_with_the_allowed_roots(workspace: Workspace) -> None:
    shown = browse(" ", workspace)
    assert shown.folders[0].path == str(workspace.root)
    assert all(browse(folder.path, workspace).at == folder.path for folder in shown.folders)


@pytest.mark.parametrize(
    "at", ["/", "/etc", "/no/such/folder", "..", "../outside", "~root", "file:///etc", "a\0b", "\\\\host\\share"]
)
def test_what_lies_outside_is_refused_in_the_same_words(workspace: Workspace, at: str) -> None:
    with pytest.raises(PathError) as caught:
        browse(at, workspace)
    assert caught.value.what == f"The path {at!r} cannot be used here."


@pytest.mark.parametrize("at", ["nothing", ".hidden", "pictures/10.png", "../outside", "pictures/../../outside"])
def test_as_is_what_is_hidden_and_what_is_not_there(workspace: Workspace, at: str) -> None:
    with pytest.raises(PathError) as caught:
        browse(str(workspace.root / at), workspace)
    assert caught.value.code == "path.not_allowed"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_that_lead_out_are_not_shown(workspace: Workspace) -> None:
    (workspace.root / "pictures" / "out").symlink_to(workspace.root.parent / "outside")
    (workspace.root / "pictures" / "in").symlink_to(workspace.root / "b 2")
    place = workspace.root / "pictures"
    assert [folder.name for folder in browse(str(place), workspace).folders] == ["in", "sub"]
    with pytest.raises(PathError):
        browse(str(place / "out"), workspace)


def test_very_full_folders_are_shown_in_part(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MAX_FOLDERS", 2)
    monkeypatch.setattr(folders, "MAX_COUNTED", 1)
    shown = browse(str(workspace.root), workspace)
    assert len(shown.folders) == 2 and not shown.whole
    assert browse(str(workspace.root / "pictures"), workspace).whole
