from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from engine.datasets import content as module
from engine.datasets.content import CONTENT, Changes, changes_since, content, read_content, write_content
from engine.datasets.scan import scan
from engine.errors import DatasetError
from tests.support.pictures import make_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    make_photos(folder, 3, seed=4)
    (folder / "dataset.yaml").write_text("concepts: [{}, {folder: more}]", encoding="utf-8")
    (folder / "more").mkdir()
    Image.new("RGB", (9, 8)).save(folder / "more" / "ガ.png")
    (folder / "more" / "meta.json").write_text('{"ガ": {"caption": "a note"}}', encoding="utf-8")
    (folder / "more" / "broken.png").write_bytes(b"")
    (folder / "more" / "broken.txt").write_text("of a broken picture", encoding="utf-8")
    return folder


def test_every_file_that_is_trained_on_stands_once(folder):
    found = content(scan(folder))
    inner = {"more/ガ.png", "more/meta.json", "dataset.yaml"}
    assert {file.name for file in found.files} == {path.name for path in folder.glob("picture*")} | inner
    assert len(found.files) == 9
    for file in found.files:
        assert (file.size, file.sha256) == ((folder / file.name).stat().st_size, module.file_hash(folder / file.name))


def test_the_fingerprint_follows_every_byte_and_name_and_nothing_else(folder, tmp_path):
    def fingerprint() -> str:
        return content(scan(folder)).fingerprint

    first = fingerprint()
    os.utime(folder / "picture 1.png")
    (folder / "unrelated.md").write_text("x", encoding="utf-8")
    assert fingerprint() == first
    folder = folder.rename(tmp_path / "moved")
    assert fingerprint() == first
    seen = {first}
    (folder / "picture 1.txt").write_text("another caption", encoding="utf-8")
    seen.add(fingerprint())
    for extension in ("bmp", "txt"):
        (folder / f"picture 3.{extension}").rename(folder / f"picture 5.{extension}")
    seen.add(fingerprint())
    Image.new("RGB", (9, 9)).save(folder / "picture 1.png")
    seen.add(fingerprint())
    (folder / "more" / "meta.json").write_text("{}", encoding="utf-8")
    seen.add(fingerprint())
    (folder / "dataset.yaml").write_text("concepts: [{}, {folder: more, repeats: 2}]", encoding="utf-8")
    seen.add(fingerprint())
    assert len(seen) == 6


def test_a_file_that_vanishes_is_reported(folder):
    dataset = scan(folder)
    (folder / "picture 1.png").unlink()
    with pytest.raises(DatasetError) as caught:
        content(dataset)
    assert caught.value.code == "dataset.changed" and "picture 1.png" in caught.value.what


def test_a_run_keeps_it(folder, tmp_path):
    found = content(scan(folder))
    assert read_content(tmp_path) is None
    write_content(found, tmp_path)
    assert read_content(tmp_path) == found
    assert json.loads((tmp_path / CONTENT).read_bytes())["fingerprint"] == found.fingerprint


@pytest.mark.parametrize(
    "change", [lambda data: "{", lambda data: "[]", lambda data: "{}", lambda data: data.replace("picture 1.png", "picture 8.png"),
               lambda data: data.replace('"size"', '"length"')],
)  # fmt: skip
def test_a_record_that_is_no_longer_whole_is_refused(folder, tmp_path, change):
    write_content(content(scan(folder)), tmp_path)
    file = tmp_path / CONTENT
    file.write_text(change(file.read_text("utf-8")), encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        read_content(tmp_path)
    assert caught.value.code == "dataset.content"


def test_what_has_changed_since_is_told_by_name(folder):
    before = content(scan(folder))
    assert not changes_since(before, folder)
    (folder / "picture 1.txt").write_text("another caption", encoding="utf-8")
    shutil.copy(folder / "picture 1.png", folder / "new.png")
    (folder / "_excluded").mkdir()
    shutil.move(folder / "more" / "ガ.png", folder / "_excluded")
    assert changes_since(before, folder) == Changes(("new.png",), ("more/ガ.png",), ("picture 1.txt",))
    assert not changes_since(content(scan(folder)), folder)


def test_only_files_of_another_time_are_read(folder, tmp_path, monkeypatch):
    before = content(scan(folder))
    hashed = []
    monkeypatch.setattr(module, "file_hash", lambda path: hashed.append(path.name) or "")
    assert not changes_since(before, folder) and hashed == []
    monkeypatch.undo()
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    assert not changes_since(before, copy)
    text = (folder / "picture 1.txt").read_bytes()
    (folder / "picture 1.txt").write_bytes(text[::-1])
    os.utime(folder / "picture 1.txt", ns=(1, 1))
    assert changes_since(before, folder).changed == ("picture 1.txt",)
