"""An album shows what scan reads, sees every change, and survives threads, strange names and a damaged index."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
import unicodedata
from dataclasses import astuple
from pathlib import Path

import pytest
from PIL import Image

from engine.datasets.album import Album, Query, open_album
from engine.datasets.album_index import UNSETTLED, load_index
from engine.datasets.caption_files import token
from engine.datasets.scan import scan
from engine.errors import DatasetError
from engine.workspace import Workspace
from tests.support.pictures import make_nasty, make_photos, save_turned, signpost

NASTY_NAMES = [
    "日本語 の 名前", "絵文字🎨", "  leading blanks", "-dash", "--flag=x", "it's \"quoted\"", "100%20%s", "back\\slash", "a,b;c&d",
    "dots..in..name", "x" * 240, "ガ" * 80, unicodedata.normalize("NFD", "ガ é"), "<b>bold</b>", "$HOME `id`", "tab\there",
]  # fmt: skip
LONG_AGO = 1_700_000_000 * 10**9


def picture(path: Path, caption: str | None = None, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def settle(folder: Path) -> None:
    """As if nobody had written here for years."""
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(LONG_AGO, LONG_AGO))


def read(folder: Path, kept: Path) -> Album:
    album = Album(folder, kept)
    assert album.read(60)
    return album


def rows(album: Album) -> list[tuple]:
    return [astuple(entry) for entry in album.entries.values()]


def test_it_shows_what_scan_reads(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make_photos(folder, 9, seed=2, trigger="robot")
    make_nasty(folder)
    save_turned(signpost(), folder / "turned.jpg", 6)
    picture(folder / "a.png", "two files").with_suffix(".caption").write_text("the other", encoding="utf-8")
    picture(folder / "b.png").with_suffix(".TXT").write_bytes("女の子、笑顔\r\nsecond".encode("cp932"))
    picture(folder / "c.png").with_suffix(".caption").write_bytes("소녀가 웃고 있다".encode("euc_kr"))
    picture(folder / "d.png", "  \n")
    picture(folder / "a.webp")
    scanned = scan(folder)
    album = read(folder, tmp_path / "kept")
    ours = {each.name: (each.width, each.height, each.caption) for each in album.entries.values() if each.width}
    theirs = [(each.path.name, (each.width, each.height, each.caption)) for each in scanned.pictures]
    assert list(ours.items()) == theirs and len(ours) > 20
    files = {each.name: each.caption_file for each in album.entries.values() if each.width}
    assert files == {each.path.name: each.caption_path.name if each.caption_path else "" for each in scanned.pictures}
    problems = {each.caption_file if each.width else each.name: each.problem for each in album.entries.values() if each.problem}
    codes = ("picture.unreadable", "picture.too_large", "caption.undecodable")
    assert problems == {finding.path.name: finding.code for finding in scanned.findings if finding.code in codes}
    assert {each.encoding for each in album.entries.values()} == {"", "utf-8", "cp932"}


def test_folders_one_level_deep_are_concepts_and_those_of_ours_are_not(tmp_path: Path) -> None:
    for name in (
        "b.png", "10_robot/10.png", "10_robot/2.png", "2_cat/a.png", "loose/a.png", "_originals/b.png", ".hidden/b.png",
        "_excluded/b.png", "_excluded/10_robot/1.png", "10_robot/deeper/a.png", ".b.png", "_excluded/_x/a.png",
    ):  # fmt: skip
        picture(tmp_path / "set" / name, f"caption of {name}")
    for name in ("loop", "loop.png", "loop.txt", "10_robot/2.caption"):
        (tmp_path / "set" / name).symlink_to(tmp_path / "set" / name)
    for name in ("_masks/10_robot/2.png", "_masks/_excluded/b.png", "_masks/b.jpg"):
        picture(tmp_path / "set" / name)
    album = read(tmp_path / "set", tmp_path / "kept")
    assert [(each.name, each.concept, each.excluded, each.masked) for each in album.entries.values()] == [
        ("b.png", "", False, False), ("loop.png", "", False, False), ("2_cat/a.png", "2_cat", False, False), ("10_robot/2.png", "10_robot", False, True),
        ("10_robot/10.png", "10_robot", False, False), ("loose/a.png", "loose", False, False),
        ("_excluded/b.png", "", True, True), ("_excluded/10_robot/1.png", "10_robot", True, False),
    ]  # fmt: skip
    readable = {name: each for name, each in album.entries.items() if not each.problem}
    assert album.entries.keys() - readable.keys() == {"loop.png"}
    assert all(each.caption == f"caption of {name}" for name, each in readable.items())
    assert all(each.caption_file == os.path.splitext(name)[0] + ".txt" for name, each in readable.items())
    assert (album.total, album.indexed, album.whole) == (6, 6, True)
    assert set(album.sizes) == {name for name, each in readable.items() if not each.excluded}


def test_the_token_is_that_of_the_file(tmp_path: Path) -> None:
    file = picture(tmp_path / "set" / "a.png", "one").with_suffix(".txt")
    album = read(tmp_path / "set", tmp_path / "kept")
    assert album.entries["a.png"].token == token(file.read_bytes())
    file.write_bytes(b"\xff\x80\x01")
    album.refresh(["a.png"])
    entry = album.entries["a.png"]
    assert (entry.token, entry.caption, entry.problem) == (token(file.read_bytes()), "", "caption.undecodable")
    file.unlink()
    album.refresh(["a.png"])
    assert (album.entries["a.png"].token, album.entries["a.png"].caption_file) == ("", "")


def test_a_caption_that_two_pictures_share_is_new_for_both(tmp_path: Path) -> None:
    file = picture(tmp_path / "set" / (unicodedata.normalize("NFD", "ガ") + ".png"), "old").with_suffix(".txt")
    picture(tmp_path / "set" / "ガ.webp")
    album = read(tmp_path / "set", tmp_path / "kept")
    file.write_text("new caption", encoding="utf-8")
    album.refresh(["ガ.webp"])
    assert [each.caption for each in album.entries.values()] == ["new caption"] * 2


@pytest.mark.parametrize("by_name", [True, False])
def test_refresh_sees_every_change(tmp_path: Path, by_name: bool) -> None:
    folder, rng = tmp_path / "set", random.Random(by_name)
    names = [f"{place}{letter}.png" for place in ("", "5_x/", "_excluded/", "new/") for letter in "abc"]
    for name in names[:6]:
        picture(folder / name, "old")
    album = read(folder, tmp_path / "kept")
    for number in range(120):
        name = rng.choice(names)
        path, caption = folder / name, (folder / name).with_suffix(".txt")
        match rng.randrange(7):
            case 0 | 1:  # as long as the one before and written in the same moment: the time need not tell
                if path.exists():
                    caption.write_text(f"{number:03}", encoding="utf-8")
            case 2:
                caption.unlink(missing_ok=True)
            case 3:
                path.unlink(missing_ok=True)
            case 4:
                picture(path, size=(rng.randrange(1, 9), 8))
            case 5:
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(b"no picture")
            case 6:
                mask = folder / "_masks" / name
                if mask.exists():
                    mask.unlink()
                elif path.exists():
                    picture(mask)
        album.refresh([name] if by_name else None)
        if not by_name:
            assert album.read(60)
        assert rows(album) == rows(read(folder, tmp_path / "other" / str(number)))


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for name in ("a.png", "b.png"):
        picture(folder / name, f"caption {name}")
    settle(folder)
    first = rows(read(folder, tmp_path / "kept"))
    (folder / "a.txt").write_text("CAPTION a.png", encoding="utf-8")  # behind the album's back: as long and as old as before
    picture(folder / "b.png", size=(8, 6)).write_bytes(bytes((folder / "b.png").stat().st_size))
    settle(folder)
    assert rows(read(folder, tmp_path / "kept")) == first
    os.utime(folder / "a.txt")
    assert read(folder, tmp_path / "kept").entries["a.png"].caption == "CAPTION a.png"
    os.utime(folder / "b.png")
    assert read(folder, tmp_path / "kept").entries["b.png"].problem == "picture.unreadable"


def test_a_file_written_a_moment_ago_is_not_relied_on(tmp_path: Path) -> None:
    file = picture(tmp_path / "set" / "a.png", "one").with_suffix(".txt")
    read(tmp_path / "set", tmp_path / "kept")
    stamp = file.stat().st_mtime_ns
    file.write_text("two", encoding="utf-8")
    os.utime(file, ns=(stamp, stamp))
    assert read(tmp_path / "set", tmp_path / "kept").entries["a.png"].caption == "two"
    assert load_index(tmp_path / "kept").captions["a.txt"][0] == UNSETTLED


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    folder, kept, rng = tmp_path / "set", tmp_path / "kept", random.Random(3)
    for name in ("a.png", "2_x/b.png", "c.png"):
        picture(folder / name, f"caption {name}")
    settle(folder)
    expected = rows(read(folder, kept))
    whole = kept.read_bytes()
    flipped = [bytearray(whole) for _ in range(40)]
    for each in flipped:
        each[rng.randrange(len(each))] ^= 1 << rng.randrange(8)
    cut = [whole[: rng.randrange(len(whole))] for _ in range(10)]
    others = [
        b"",
        b"\n",
        b"null",
        b"00000000\n",
        b"8b5b2a4e\nnull",
        os.urandom(500),
        whole + b" ",
        whole.replace(b"1 ", b"2 ", 1),
    ]
    for damaged in (*map(bytes, flipped), *cut, *others):
        kept.write_bytes(damaged)
        assert rows(read(folder, kept)) == expected
        assert kept.read_bytes() == whole


def test_a_folder_in_place_of_the_index_costs_time_only(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png", "x")
    (tmp_path / "kept").mkdir()
    assert rows(read(tmp_path / "set", tmp_path / "kept"))


def test_what_has_gone_leaves_the_index(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        picture(tmp_path / "set" / name, "x")
    settle(tmp_path / "set")
    read(tmp_path / "set", tmp_path / "kept")
    (tmp_path / "set" / "b.png").unlink()
    picture(tmp_path / "set" / "c.png", "new")
    read(tmp_path / "set", tmp_path / "kept")
    assert set(load_index(tmp_path / "kept").pictures) == {"a.png", "c.png"}
    assert set(load_index(tmp_path / "kept").captions) == {"a.txt", "c.txt"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
def test_nasty_names(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for number, name in enumerate(NASTY_NAMES):
        picture(folder / f"{name}.png", f"caption {number}")
        picture(folder / f"_excluded/{name}.png", f"taken out {number}")
    for number, name in enumerate(NASTY_NAMES[:5]):
        picture(folder / f"5_{name}" / f"{name}.png", f"inside {number}")
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe.png", os.O_CREAT))
    settle(folder)
    album = read(folder, tmp_path / "kept")
    for number, name in enumerate(NASTY_NAMES):
        assert album.entries[f"{name}.png"].caption == f"caption {number}"
        assert album.entries[f"_excluded/{name}.png"].caption == f"taken out {number}"
    for number, name in enumerate(NASTY_NAMES[:5]):
        assert album.entries[f"5_{name}/{name}.png"].caption == f"inside {number}"
    assert len(album.entries) == 2 * len(NASTY_NAMES) + 5 and not any(each.problem for each in album.entries.values())
    again = Album(folder, tmp_path / "kept")
    assert again.whole and rows(again) == rows(album)
    for name in album.entries:
        album.refresh([name])
    assert rows(again) == rows(album)


def test_names_that_are_not_the_albums_are_not_looked_at(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    for name in ("outside.png", "set/_originals/a.png", "set/x/y/a.png"):
        picture(tmp_path / name)
    album = read(tmp_path / "set", tmp_path / "kept")
    album.refresh(["../outside.png", "_originals/a.png", "x/y/a.png", str(tmp_path / "outside.png"), "", "nothing.png", ".."])
    assert list(album.entries) == ["a.png"]


def test_the_first_pictures_are_there_first(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for number in range(300):
        picture(folder / f"{number}.png")
    album = Album(folder, tmp_path / "kept")
    while not album.whole:
        seen = list(album.entries)
        assert seen == [f"{number}.png" for number in range(len(seen))] and album.indexed <= album.total == 300
        time.sleep(0.001)
    assert album.indexed == 300


def test_several_threads(tmp_path: Path) -> None:
    folder, workspace = tmp_path / "set", Workspace(tmp_path / "data")
    for number in range(60):
        picture(folder / f"{number % 3}_x" / f"{number}.png", "start")
    albums, troubles, ended = [], [], threading.Event()

    def look(seed: int) -> None:
        rng = random.Random(seed)
        try:
            album = open_album(folder, workspace)
            albums.append(album)
            while not ended.is_set():
                match rng.randrange(4):
                    case 0:
                        album.refresh()
                    case 1:
                        album.refresh(rng.sample(sorted(album.entries) or ["x"], 1))
                    case 2:
                        assert album.read(10)
                    case 3:
                        found = album.find(Query(text="start", sort="newest"))
                        assert set(found) <= album.entries.keys() or len(album.entries) < 60
        except BaseException as trouble:  # a thread's own traceback would go unseen
            troubles.append(trouble)
            raise

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    rng, mine = random.Random(9), open_album(folder, workspace)
    try:
        for number in range(150):
            picked = rng.randrange(60)
            name = f"{picked % 3}_x/{picked}"
            (folder / f"{name}.txt").write_text(f"{number:05}", encoding="utf-8")
            if number % 10 == 0:
                (folder / f"{name}.png").unlink(missing_ok=True)
            if rng.random() < 0.3:
                mine.refresh([f"{name}.png"])
                entry = mine.entries.get(f"{name}.png")
                assert entry is None or entry.caption == f"{number:05}"
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
    assert not troubles and len({id(album) for album in albums}) == 1
    mine.refresh()
    assert mine.read(30)
    assert rows(mine) == rows(read(folder, tmp_path / "kept"))


def test_one_album_for_all_who_ask(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "set")
    workspace = Workspace(tmp_path / "data")
    assert open_album(tmp_path / "set", workspace) is open_album(tmp_path / "link", workspace)
    assert open_album(tmp_path / "set", workspace) is not open_album(tmp_path / "set", Workspace(tmp_path / "others"))
    picture(tmp_path / "set" / "b.png")
    assert open_album(tmp_path / "set", workspace).total == 1
    assert open_album(tmp_path / "set", workspace, again=True).total == 2


def test_an_empty_folder_and_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    album = read(tmp_path / "set", tmp_path / "kept")
    assert (album.total, album.whole, album.find(Query())) == (0, True, [])
    for name in ("missing", "kept"):
        with pytest.raises(DatasetError) as caught:
            Album(tmp_path / name, tmp_path / "other")
        assert caught.value.code == "dataset.not_a_folder"
    (tmp_path / "set").rmdir()
    with pytest.raises(DatasetError):
        album.refresh()
