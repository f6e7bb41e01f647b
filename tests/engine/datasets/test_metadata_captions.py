from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.datasets.metadata_captions import metadata_captions, metadata_files
from engine.errors import DatasetError


def write(file: Path, data: object) -> Path:
    file.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return file


def test_kohyas_metadata_joins_caption_and_tags(tmp_path):
    entries = {
        "a": {"caption": "a robot", "tags": "blue, metal"},
        "b": {"tags": "red"},
        "c": {"train_resolution": [64, 64]},
        "d": {"caption": "first\nsecond"},
    }
    names = ["a.png", "b.png", "c.png", "d.png", "e.png"]
    found = metadata_captions(write(tmp_path / "meta.json", entries), names)
    assert found == {"a.png": "a robot, blue, metal", "b.png": "red", "d.png": "first"}


@pytest.mark.parametrize(
    ("key", "name", "found"),
    [
        ("a", "a.png", True), ("a.png", "a.png", True), ("./a.png", "a.png", True), ("a", "20_x/a.png", True),
        ("20_x/a", "20_x/a.png", True), ("/data/20_x/a.png", "20_x/a.png", True), (r"D:\set\20_x\a.png", "20_x/a.png", True),
        ("/elsewhere/a.png", "a.png", True), ("ガ.v2", "ガ.v2.png", True),
        ("10_y/a.png", "20_x/a.png", False), ("a.jpg", "a.png", False), ("b/a", "a/b.png", False), ("xa.png", "a.png", False),
    ],
)  # fmt: skip
def test_a_key_means_a_picture_where_one_path_is_the_end_of_the_other(tmp_path, key, name, found):
    file = write(tmp_path / "meta.json", {key: {"caption": "told"}})
    assert metadata_captions(file, [name]) == ({name: "told"} if found else {})


def test_the_nearest_key_counts_and_a_doubtful_one_does_not(tmp_path):
    keys = {"/d/1_x/a.png": "x", "/d/1_y/a.png": "y", "/e/1_y/b.png": "b", "a": "plain"}
    file = write(tmp_path / "meta.json", {key: {"caption": caption} for key, caption in keys.items()})
    assert metadata_captions(file, ["1_x/a.png", "1_y/a.png", "1_z/a.png"]) == {
        "1_x/a.png": "x",
        "1_y/a.png": "y",
        "1_z/a.png": "plain",
    }
    del keys["a"]
    file = write(tmp_path / "meta.json", {key: {"caption": caption} for key, caption in keys.items()})
    assert metadata_captions(file, ["a.png", "b.png"]) == {"b.png": "b"}


def test_an_imagefolder_has_a_line_for_each_picture(tmp_path):
    lines = [{"file_name": "a.png", "text": "one"}, {"file_name": "sub/b.png", "caption": "二"}, {"file_name": "c.png"}]
    file = write(tmp_path / "metadata.jsonl", "\ufeff" + "\n\n".join(json.dumps(line) for line in lines) + "\n")
    assert metadata_captions(file, ["a.png", "sub/b.png", "c.png"]) == {"a.png": "one", "sub/b.png": "二"}


def test_the_files_are_known_by_their_names(tmp_path):
    for name in ("meta_lat.json", "meta_cap.json", "metadata.jsonl", "metadata_cache.json", "notes.json", "other.jsonl"):
        (tmp_path / name).touch()
    assert [file.name for file in metadata_files([tmp_path, tmp_path])] == ["meta_cap.json", "meta_lat.json", "metadata.jsonl"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("meta.json", "{", "line 1"), ("meta.json", "[1]", "it is not a JSON object"), ("meta.json", '{"a": "b"}', "'a' is not"),
        ("meta.json", '{"a": {"tags": ["b"]}}', "'a': tags is not a text"), ("meta.json", "[" * 100_000, "recursion"),
        ("meta.json", '{"a": {"caption": "\\ud800"}}', "control characters"), ("meta.json", '{"a": {"tags": "x\\u0000y"}}', "control"),
        ("metadata.jsonl", '{"file_name": "a"}\n{"file_name": 1}', "line 2: file_name"), ("metadata.jsonl", "{}\n\nx", "line 3"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_its_place(tmp_path, name, text, told):
    with pytest.raises(DatasetError) as caught:
        metadata_captions(write(tmp_path / name, text), ["a.png"])
    assert caught.value.code == "caption.metadata" and name in caught.value.what and told in caught.value.what
