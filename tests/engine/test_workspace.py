"""The one atomic write, and which names and paths may be used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from engine.errors import PathError
from engine.workspace import SHIPPED_DATASETS, Workspace, atomic_write, check_name, safe_join, staged

ROOT = Path(__file__).parents[2]
FULL_DISK = """
import errno, resource, signal, sys
from engine.workspace import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with atomic_write(sys.argv[1]) as stream:
        for _ in range(4):
            stream.write(bytes(100_000))
except OSError as error:
    print(errno.errorcode[error.errno])
"""


# ---- the one write ----


@pytest.mark.parametrize(("mode", "content"), [("wb", b"\0\xff\r\n"), ("w", "日本語\n")])
def test_writes_bytes_and_text_as_they_are(tmp_path: Path, mode: str, content: bytes | str) -> None:
    path = tmp_path / "new folder" / "file"
    with atomic_write(path, mode) as stream:
        stream.write(content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_inside_leaves_the_old_content_and_nothing_else(tmp_path: Path, old: bytes | None, error: type) -> None:
    path = tmp_path / "file"
    if old:
        path.write_bytes(old)
    with pytest.raises(error), atomic_write(path) as stream:
        stream.write(b"half of the new")
        raise error
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([old] if old else [])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit")
def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    told = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True)
    assert told.stdout.strip() == "EFBIG", told.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_the_target_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("folder", [False, True])
def test_a_staged_file_or_folder_has_its_name_only_when_it_is_whole(tmp_path: Path, folder: bool) -> None:
    def make(place: Path) -> None:
        assert place.name == "made.x" and not (tmp_path / "made.x").exists()
        file = place / "a" if folder else place
        file.parent.mkdir(exist_ok=True)
        file.write_text("whole")

    with pytest.raises(KeyboardInterrupt), staged(tmp_path / "made.x") as place:
        make(place)
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with staged(tmp_path / "made.x") as place:
        make(place)
    assert [file.name for file in tmp_path.iterdir()] == ["made.x"]
    assert (tmp_path / "made.x" / "a" if folder else tmp_path / "made.x").read_text() == "whole"


@pytest.mark.parametrize("name", ["あ" * 80, "🦊" * 60, "x" * 255, "a b %41 'c' .txt"])
def test_any_name_that_the_system_takes_can_be_written(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as stream:
        stream.write(b"x")
    assert (tmp_path / name).read_bytes() == b"x"


# ---- names ----


@pytest.mark.parametrize(
    "name", ["my-mascot", "モフモ", "私のLoRA v1.2", "_draft", "émilie", "a'b & c (2)", "x" * 120, "c0m1", "🦊"]
)
def test_ordinary_names_are_taken_as_they_are(name: str) -> None:
    assert check_name(f"  {name} ") == name


@pytest.mark.parametrize(
    "name",
    [
        "", "   ", ".", "..", ".hidden", "-rf", "dot.", "a/b", "a\\b", "../x", "C:windows", "a:0.8", "a,b", "a=b", "<lora", "a>b",
        "a|b", "a?b", "a*b", 'a"b', "CON", "con.txt", "nul", "Aux.safetensors", "COM1", "lpt9.x", "a\0b", "a\nb", "a\x7fb",
        "a\u202eb", "a\u200bb", "a\u2028b", "\ud800", "x" * 121, "あ" * 41,
    ],
)  # fmt: skip
def test_names_that_break_a_file_system_or_a_tag_are_refused(name: str) -> None:
    with pytest.raises(PathError) as caught:
        check_name(name, "some.field")
    assert (caught.value.code, caught.value.values) == ("path.bad_name", {"name": name, "field": "some.field"})


def test_a_name_typed_on_a_mac_is_the_name_typed_elsewhere() -> None:
    apart = unicodedata.normalize("NFD", "がぞう")
    assert apart != "がぞう" and check_name(apart) == "がぞう"


# ---- paths ----

ATTACKS = [
    "../secret", "../../etc/passwd", "a/../../secret", "/etc/passwd", "//etc/passwd", "link/file", "loop", "loop/x", "nul\0byte", "\ud800",
]  # fmt: skip
"""All of them lead out of the folder, or nowhere that a system can follow."""
HARMLESS = ["file", "a/b", "a/../b", "file:///etc/passwd", "\\\\host\\share", "%2e%2e/x", "日本語 🦊", "...", "~nobody"]
"""Odd, but names inside the folder (on Windows the ones with backslash and colon are refused)."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("secret")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize("part", ATTACKS)
def test_safe_join_refuses_what_leads_out(root: Path, part: str) -> None:
    with pytest.raises(PathError) as caught:
        safe_join(root, part)
    assert caught.value.code == "path.outside"


@pytest.mark.skipif(sys.platform == "win32", reason="other names are odd there")
@pytest.mark.parametrize("part", HARMLESS)
def test_safe_join_keeps_odd_names_inside(root: Path, part: str) -> None:
    assert safe_join(root, part) == root / part


@pytest.mark.parametrize("attack", [*ATTACKS, *HARMLESS, "~/.ssh/id_rsa", "~", "~nobody/x", "", "  ", "/"])
def test_a_remote_visitor_reaches_the_workspace_only(root: Path, attack: str) -> None:
    workspace = Workspace(root, remote=True)
    for typed in (attack, str(root / attack) if attack in ATTACKS else attack):
        with pytest.raises(PathError) as caught:
            workspace.allowed_path(typed)
        assert caught.value.code == "path.not_allowed"


def test_refusals_do_not_tell_whether_a_path_exists(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "root", remote=True)
    (tmp_path / "is.png").write_text("x")
    texts = set()
    for name in ("is.png", "not.png"):
        with pytest.raises(PathError) as caught:
            workspace.allowed_path(str(tmp_path / name))
        texts.add(str(caught.value).replace(name, ""))
    assert len(texts) == 1


def test_allowed_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data", "home", "models", "elsewhere", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    local, remote = (
        Workspace(tmp_path / "data", checkpoint_folder=tmp_path / "models", remote=remote) for remote in (False, True)
    )
    for workspace in (local, remote):
        assert workspace.allowed_path(str(tmp_path / "data" / "x")) == tmp_path / "data" / "x"
        assert workspace.allowed_path(str(tmp_path / "models" / "x")) == tmp_path / "models" / "x"
        for typed in (tmp_path / "elsewhere", tmp_path / "home" / ".ssh", tmp_path / "data" / ".git" / "x"):
            with pytest.raises(PathError):
                workspace.allowed_path(str(typed))
    assert local.allowed_path("~/pictures") == tmp_path / "home" / "pictures"
    assert local.allowed_path("pictures") == tmp_path / "here" / "pictures"
    for typed in ("~/pictures", "pictures"):
        with pytest.raises(PathError):
            remote.allowed_path(typed)


# ---- folders ----


def test_prepare_makes_a_private_root_with_its_rooms(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data").prepare().prepare()
    rooms = {"models", "datasets", "loras", "runs", "outputs", "wildcards", "config"}
    assert {folder.name for folder in workspace.root.iterdir()} == rooms
    if os.name == "posix":
        assert stat.S_IMODE(workspace.root.stat().st_mode) == 0o700


def test_folders_of_an_existing_installation_are_read_but_not_written(tmp_path: Path) -> None:
    there = Workspace(tmp_path, tmp_path / "sd", tmp_path / "lora", tmp_path / "emb")
    assert there.lora_folders == [tmp_path / "loras", tmp_path / "lora"] and there.loras == tmp_path / "loras"
    assert tmp_path / "sd" in there.checkpoint_folders and tmp_path / "emb" in there.embedding_folders
    assert Workspace(tmp_path).lora_folders == [tmp_path / "loras"]


def test_a_dataset_is_a_shipped_one_a_name_or_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "data").prepare()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "data")
    own, elsewhere = workspace.root / "datasets" / "猫", tmp_path / "photos"
    for folder in (own / "10_x", elsewhere, workspace.root / "datasets" / "practice" / "mine"):
        folder.mkdir(parents=True)
    assert workspace.dataset_folder("practice/mascot") == SHIPPED_DATASETS / "mascot"
    assert workspace.dataset_folder("practice/mine") == workspace.root / "datasets" / "practice" / "mine"
    assert workspace.dataset_folder(" 猫 ") == own and workspace.dataset_folder("猫/10_x") == own / "10_x"
    for typed in ("~/photos", str(elsewhere), "../photos"):
        assert workspace.dataset_folder(typed) == elsewhere


@pytest.mark.parametrize("typed", ["../../etc", "practice/../../..", "/etc", "~/photos", "", "nul\0"])
def test_a_remote_visitor_names_no_dataset_outside(tmp_path: Path, typed: str) -> None:
    with pytest.raises(PathError):
        Workspace(tmp_path / "data", remote=True).prepare().dataset_folder(typed)
