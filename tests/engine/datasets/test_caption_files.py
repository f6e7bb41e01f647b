from __future__ import annotations

import codecs
import random
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.caption_files import (
    ENCODINGS,
    caption_name,
    caption_names,
    one_line,
    save_caption,
    save_captions,
    token,
    with_caption,
)
from engine.datasets.captions import MAX_CAPTION_BYTES, read_caption
from engine.datasets.encodings import decode_text
from engine.datasets.journal import Journal
from engine.datasets.listing import caption_files
from engine.errors import DatasetError

ROOT = Path(__file__).parents[3]
JAPANESE, CHINESE = "赤い髪の女の子、学校の制服", "红色头发的女孩，站在学校里"
OLD = {
    "utf-8": f"{JAPANESE}\nline two\n".encode(),
    "utf-8 with mark": codecs.BOM_UTF8 + f"{JAPANESE}\r\n".encode(),
    "utf-16 little": codecs.BOM_UTF16_LE + f"{JAPANESE}\r\nzwei".encode("utf-16-le"),
    "utf-16 big": codecs.BOM_UTF16_BE + f"{JAPANESE}\r\n".encode("utf-16-be"),
    "utf-16 without mark": "a red robot\r\n".encode("utf-16-le"),
    "shift-jis": f"{JAPANESE}\r\n二行目\r\n".encode("cp932"),
    "euc-jp": f"{JAPANESE}\n".encode("euc_jp"),
    "gbk": f"{CHINESE}\r第二行的文字也在这里".encode("gbk"),
    "latin": "café, crème\r\nà la carte".encode("latin-1"),
    "empty": b"",
    "ascii": b"  a robot \r\n\r\nmore",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def first_line(data: bytes) -> str:
    return decode_text(data)[0].replace("\r", "\n").split("\n")[0].strip()


@pytest.mark.parametrize("kind", OLD)
def test_a_save_keeps_all_but_the_caption(kind: str) -> None:
    """Encoding, mark, line ends and further lines; the caption back again is the old file byte for byte."""
    old = OLD[kind]
    text, encoding = decode_text(old)
    before = first_line(old)
    caption = f"{before}, robot" if before else "robot"
    new = with_caption(old, caption)
    assert decode_text(new) == (text.replace(text.split("\r")[0].split("\n")[0], caption, 1) if before else caption, encoding)
    assert new[:2] == old[:2] or not before or kind == "ascii"
    assert with_caption(new, before) == (old if before == text.split("\r")[0].split("\n")[0] else b"a robot\r\n\r\nmore")
    assert with_caption(old, before) is old


@pytest.mark.parametrize("kind", OLD)
def test_emptying_and_converting(kind: str) -> None:
    old = OLD[kind]
    emptied = with_caption(old, "")
    assert first_line(emptied) == ""
    if first_line(old):
        assert decode_text(old)[0].removeprefix(decode_text(emptied)[0]) != ""
        assert decode_text(old)[0].endswith(decode_text(emptied)[0])
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        data = with_caption(old, "猫耳 é", encoding)
        assert data.decode(encoding).splitlines()[0] == "猫耳 é"
        assert len(decode_text(data)[0].splitlines()) == max(1, len(decode_text(old)[0].splitlines()))


def test_a_new_file_is_utf8() -> None:
    assert with_caption(None, " 猫,\tcat \n dog ") == "猫,\tcat   dog".encode()
    assert with_caption(None, unicodedata.normalize("NFD", "ガールé")) == "ガールé".encode()


@given(st.sampled_from(list(OLD)), st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))
def test_what_is_written_is_what_is_read(kind: str, caption: str) -> None:
    """Any caption: it comes back, or the save is refused. It never reads as something else."""
    try:
        new = with_caption(OLD[kind], caption)
    except DatasetError as error:
        assert error.code in ("caption.cannot_encode", "caption.ambiguous")
        return
    assert first_line(new) == one_line(caption)


def refusal(old: bytes | None, caption: str, encoding: str | None = None) -> DatasetError:
    with pytest.raises(DatasetError) as refused:
        with_caption(old, caption, encoding)
    return refused.value


def test_what_cannot_be_saved_is_refused() -> None:
    assert refusal(OLD["shift-jis"], "한국").values == {"encoding": "cp932", "character": "한"}
    assert refusal(OLD["latin"], "猫").code == "caption.cannot_encode"
    assert refusal(OLD["shift-jis"].split(b"\r")[0], "猫").code == "caption.ambiguous"
    assert refusal(None, "a\0b").code == refusal(None, "a\x1bb").code == "caption.control_characters"
    assert refusal(None, "x" * (MAX_CAPTION_BYTES + 1)).code == "caption.too_long"
    assert refusal(None, "x", "rot13").code == "caption.encoding"
    assert with_caption(OLD["shift-jis"], "한국", "utf-8").decode() == "한국\r\n二行目\r\n"


@pytest.mark.parametrize("junk", [b"\x00\x01\x02", b"\x81", b"a\x00b", "é".encode("latin-1") + b"\xff\xfe\xfd"])
def test_what_cannot_be_read_is_replaced_only_when_asked(junk: bytes) -> None:
    assert refusal(junk, "robot").code == "caption.not_overwritten"
    assert with_caption(junk, "robot", "utf-8") == b"robot"


def test_every_encoding_on_offer_can_be_written() -> None:
    for encoding in ENCODINGS:
        assert decode_text(with_caption(None, "a robot", encoding))[0] == "a robot"


# ---- which file ----


def test_the_file_written_is_the_file_that_is_read(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "ガ")
    for name in ("a.TXT", "b.caption", "c.caption", "c.txt", f"{nfd}.txt", ".d.txt", "e.b.txt", "猫 1.Caption", "f.txt.png"):
        (tmp_path / name).write_text("x")
    (tmp_path / "20_x").mkdir()
    (tmp_path / "20_x/a.caption").write_text("x")
    expected = {
        "a.png": "a.TXT", "b.jpg": "b.caption", "c.png": "c.txt", "ガ.png": f"{nfd}.txt", "d.png": "d.txt", "e.b.png": "e.b.txt",
        "e.png": "e.txt", "猫 1.png": "猫 1.Caption", "f.txt.png": "f.txt.txt", "20_x/a.png": "20_x/a.caption",
        "20_x/b.png": "20_x/b.txt", "gone/a.png": "gone/a.txt",
    }  # fmt: skip
    assert caption_names(tmp_path, expected) == expected
    assert all(caption_name(tmp_path, name) == file for name, file in expected.items())
    for picture, file in expected.items():
        read = caption_files(tmp_path).get(unicodedata.normalize("NFC", Path(picture).stem))
        if read and "/" not in picture:
            assert read[0].name == file


# ---- through the journal ----


def test_saving_and_undoing(folder: Path) -> None:
    log = Journal(folder)
    assert save_caption(log, "a.png", "", "") is None and not (folder / "a.txt").exists()
    done = save_caption(log, "a.png", "モフモ", "")
    assert done and done.names == ["a.txt"] and read_caption(folder / "a.txt").text == "モフモ"
    now = token((folder / "a.txt").read_bytes())
    assert save_caption(log, "a.png", "モフモ", now) is None
    save_caption(log, "a.png", "", now)
    assert (folder / "a.txt").read_bytes() == b""
    log.undo()
    log.undo()
    assert not (folder / "a.txt").exists()


def test_a_file_changed_meanwhile_is_a_conflict(folder: Path) -> None:
    log, file = Journal(folder), folder / "a.txt"
    file.write_text("old\n")
    seen = token(file.read_bytes())
    file.write_text("theirs\n")
    for call in (
        lambda: save_caption(log, "a.png", "mine", seen),
        lambda: save_captions(log, {"b.png": "x", "a.png": "mine"}, "edit", tokens={"b.png": "", "a.png": seen}),
    ):
        with pytest.raises(DatasetError) as refused:
            call()
        assert refused.value.code == "caption.changed"
        assert refused.value.values == {"name": "a.png", "theirs": "theirs", "token": token(b"theirs\n")}
    assert file.read_text() == "theirs\n" and not (folder / "b.txt").exists()
    save_caption(log, "a.png", "mine", token(b"theirs\n"))
    assert file.read_text() == "mine\n"


def test_a_picture_that_has_gone_gets_no_caption(folder: Path) -> None:
    (folder / "a.png").unlink()
    with pytest.raises(DatasetError) as refused:
        save_caption(Journal(folder), "a.png", "x", "")
    assert refused.value.code == "dataset.conflict" and not (folder / "a.txt").exists()


def test_one_bad_file_stops_all_and_is_named(folder: Path) -> None:
    (folder / "b.txt").write_bytes(b"\x00\x01")
    log = Journal(folder)
    with pytest.raises(DatasetError) as refused:
        save_captions(log, {"a.png": "x", "b.png": "y"}, "edit")
    assert refused.value.code == "caption.not_overwritten" and refused.value.values["name"] == "b.png"
    assert not (folder / "a.txt").exists()
    done = save_captions(log, {"a.png": "x", "b.png": "y"}, "edit", {"kind": "set"}, encoding="utf-8")
    assert done and done.values == {"kind": "set"} and (folder / "b.txt").read_bytes() == b"y"
    log.undo()
    assert (folder / "b.txt").read_bytes() == b"\x00\x01" and not (folder / "a.txt").exists()


def test_of_two_who_edit_the_same_caption_one_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1000 random interleavings of two tabs, each with a journal of its own."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    rng, gate = random.Random(0), threading.Barrier(2)
    rounds = [(rng.choice(("a", "b")), rng.choice(("a", "b"))) for _ in range(1000)]
    outcomes: list[list[str]] = [[], []]

    def tab(number: int) -> None:
        log, own = Journal(folder), random.Random(number)
        for index, pictures in enumerate(rounds):
            stem = pictures[number]
            file = folder / f"{stem}.txt"
            seen = token(file.read_bytes() if file.exists() else None)
            gate.wait(20)
            for _ in range(own.randrange(300)):
                pass
            try:
                save_caption(log, f"{stem}.png", f"{number} {index}", seen)
                outcomes[number].append("saved")
            except DatasetError as error:
                outcomes[number].append(error.code)
            gate.wait(20)
            if outcomes[number][-1] == "saved":
                assert file.read_text() == f"{number} {index}"
            gate.wait(20)

    tabs = [threading.Thread(target=tab, args=(number,)) for number in (0, 1)]
    for each in tabs:
        each.start()
    for each in tabs:
        each.join()
    told = list(zip(*outcomes, strict=True))
    assert len(told) == 1000
    for (left, right), pair in zip(rounds, told, strict=True):
        assert sorted(pair) == (["caption.changed", "saved"] if left == right else ["saved", "saved"])
    assert {pair for pair in told if "caption.changed" in pair} == {("saved", "caption.changed"), ("caption.changed", "saved")}
    log = Journal(folder)
    assert log.state()["position"] == sum(outcome == "saved" for side in outcomes for outcome in side)


def test_processes_lose_no_update(folder: Path) -> None:
    """Each adds one to a number in a caption, again and again, and tries anew when it is told of a change."""
    code = (
        "import sys, pathlib; from engine.datasets.caption_files import *; from engine.datasets.journal import Journal\n"
        "from engine.errors import DatasetError\nfolder, left = pathlib.Path(sys.argv[1]), 60\nlog = Journal(folder)\n"
        "while left:\n"
        "    data = (folder / 'a.txt').read_bytes()\n"
        "    try: save_caption(log, 'a.png', str(int(data) + 1), token(data)); left -= 1\n"
        "    except DatasetError as error: assert error.code == 'caption.changed', error\n"
    )
    (folder / "a.txt").write_text("0")
    children = [subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert (folder / "a.txt").read_text() == "120"
    assert Journal(folder).state()["position"] == 120
