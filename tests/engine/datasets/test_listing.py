from __future__ import annotations

import pytest

from engine.datasets.listing import caption_files, kohya_name, natural_key, picture_files


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20_robot", (20, "robot")), ("3_a b_c", (3, "a b_c")), ("1_", (1, "")), ("7", (7, "")),
        ("0_x", None), ("-2_x", None), ("robot_20", None), ("1.5_x", None), ("", None),
    ],
)  # fmt: skip
def test_folder_names_are_read_as_kohya_reads_them(name, expected):
    assert kohya_name(name) == expected


def test_names_sort_as_people_count():
    names = ["10.png", "2.png", "a10.png", "A2.png", "a1.png", "1.png", "b.png", "あ2.png", "あ10.png"]
    expected = ["1.png", "2.png", "10.png", "a1.png", "A2.png", "a10.png", "b.png", "あ2.png", "あ10.png"]
    assert sorted(names, key=natural_key) == expected


def test_pictures_and_captions_are_told_by_their_endings(tmp_path):
    for name in ("b.PNG", "a.heic", ".hidden.png", "a.caption", "a.txt", "c.TXT", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in picture_files(tmp_path)] == ["a.heic", "b.PNG"]
    found = {stem: [path.name for path in files] for stem, files in caption_files(tmp_path).items()}
    assert found == {"a": ["a.txt", "a.caption"], "c": ["c.TXT"]}
