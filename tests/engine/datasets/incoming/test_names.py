"""Which files come in and what they are called: every script and sign stays as it is, what a system cannot store is refused."""

from __future__ import annotations

import unicodedata

import pytest

from engine.datasets.incoming.names import NAME_BYTES, arrival_name, look, note, safe_parts, shown
from engine.errors import PathError


def named(sent: str) -> str:
    return arrival_name(safe_parts(sent))


@pytest.mark.parametrize(
    "name",
    [
        "a.png", "IMG 0001.JPG", "ロボット 🤖.webp", "👩‍👧.png", "ペルシャ می‌خواهم.txt", "한국어/사진.bmp", "-dash.png", "50% 'off'.png",
        "1girl, solo=1.png", "$(touch canary).png", "& onerror=alert(1).png", "%2e%2e.png", "~nobody.png", "_DSC1234.jpg", "a..b.png",
        "20_robot/a.caption", "meta.json", "20_robot/metadata.jsonl", "dataset.yaml", "phone.heic", "x" * 236 + ".png",
    ],
)  # fmt: skip
def test_a_name_that_every_system_can_store_is_kept(name: str) -> None:
    assert named(name) == name


def test_names_become_composed() -> None:
    name = "がぎ/ぐ.png"
    assert unicodedata.normalize("NFD", name) != name
    assert named(unicodedata.normalize("NFD", name)) == name


@pytest.mark.parametrize(
    "name",
    [
        "../a.png", "a/../../b.png", "..\\a.png", "x\\..\\..\\a.png", "/etc/a.png", "\\a.png", "\\\\host\\share\\a.png", "C:\\a.png",
        "c:a.png", "a\0.png", "..", "",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_is_told_apart(name: str) -> None:
    with pytest.raises(PathError) as caught:
        named(name)
    assert caught.value.code == "incoming.unsafe_name"


@pytest.mark.parametrize(
    "name",
    [
        "CON.png", "nul/a.png", "com1.txt", "COM¹.png", "aux .png", "con.tar.png", "LPT9/a.png", "<img src=x onerror=alert(1)>.png",
        "a?.png", "a*.png", 'a".png', "a|b.png", "file:a.png", "tab\t.png", "line\n.png", "\u202egnp.png", "\ud800.png", "dot./a.png",
        "space /a.png", "x" * (NAME_BYTES - 3) + ".png", "あ" * 80 + ".png",
    ],
)  # fmt: skip
def test_a_name_that_some_system_cannot_store_is_refused(name: str) -> None:
    with pytest.raises(PathError) as caught:
        named(name)
    assert caught.value.code == "incoming.bad_name"
    caught.value.what.encode()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        (".DS_Store", "hidden"), ("__MACOSX/a.png", "hidden"), (".git/a.png", "hidden"), ("a/._b.png", "hidden"),
        ("Thumbs.db", "not_wanted"), ("a.svg", "not_wanted"), ("train.py", "not_wanted"), ("a.png.exe", "not_wanted"),
        ("no ending", "not_wanted"), ("x/dataset.yaml", "not_wanted"), ("other.yaml", "not_wanted"), ("inner.ZIP", "archive_inside"),
        ("_excluded/a.png", "own_folder"), ("_history/a.json", "own_folder"),
    ],
)  # fmt: skip
def test_what_does_not_belong_into_a_dataset_is_named(name: str, code: str) -> None:
    with pytest.raises(PathError) as caught:
        named(name)
    assert caught.value.code == f"incoming.{code}"


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("mascot/20_robot/a.png", "20_robot/a.png"), ("20_robot/raw/a.png", "20_robot/a.png"), ("a/b/c.png", "b/c.png"),
        ("img/5_a/6_b/c.png", "6_b/c.png"), ("a//b.png", "a/b.png"), ("./a.png", "a.png"), ("folder\\a.png", "folder/a.png"),
    ],
)  # fmt: skip
def test_one_folder_of_a_deep_path_stays(sent: str, name: str) -> None:
    assert named(sent) == name


def test_look_alikes_have_one_look() -> None:
    alike = ["Ä.png", "ä.PNG", unicodedata.normalize("NFD", "Ä.png"), "Ä\u200d.png"]
    assert len({look(name) for name in alike}) == 1
    assert look("a.png") != look("b.png")


def test_a_note_can_always_be_sent() -> None:
    assert note("half \ud800", PathError("x", "y")).name == "half ?"
    assert len(shown("x" * 5000)) == 200
