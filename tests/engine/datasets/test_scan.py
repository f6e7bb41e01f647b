from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from engine.datasets.listing import kohya_name, natural_key
from engine.datasets.scan import scan
from engine.errors import DatasetError
from tests.support.pictures import READABLE, REFUSED_BY_HEADER, make_nasty, make_photos, save_turned, signpost


def picture(path: Path, caption: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (1, 2, 3)).save(path)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption, encoding="utf-8")
    return path


def codes(dataset) -> list[str]:
    return [finding.code for finding in dataset.findings]


def test_a_plain_folder_is_one_concept_with_the_repeats_asked_for(tmp_path):
    folder = tmp_path / "holiday"
    paths = make_photos(folder, 9, seed=1)
    dataset = scan(folder, repeats=3)
    (concept,) = dataset.concepts
    assert (concept.name, concept.repeats, concept.class_tokens) == ("holiday", 3, "")
    assert [picture.path for picture in concept.pictures] == sorted(paths, key=lambda path: int(path.stem.split()[1]))
    for found in concept.pictures:
        assert found.size == Image.open(found.path).size
        assert found.caption == found.path.with_suffix(".txt").read_text("utf-8").strip()
        assert found.caption_source == "file"
    assert dataset.findings == []
    assert (len(dataset.pictures), dataset.views_per_epoch) == (9, 27)


def test_kohyas_parent_folder_gives_a_concept_for_each_numbered_folder(tmp_path):
    picture(tmp_path / "10_blue robot_x" / "a.png", "one")
    picture(tmp_path / "2_sks dog" / "a.png", "two")
    picture(tmp_path / "2_sks dog" / "b.png", "three")
    picture(tmp_path / "5_" / "a.png", "four")
    picture(tmp_path / "7" / "a.png", "five")
    picture(tmp_path / "2_sks dog" / "deeper" / "a.png")
    picture(tmp_path / "0_never" / "a.png")
    picture(tmp_path / "-3_never" / "a.png")
    picture(tmp_path / "robot" / "a.png")
    picture(tmp_path / "loose.png")
    (tmp_path / "4_nothing").mkdir()
    dataset = scan(tmp_path, repeats=99)
    assert [(c.name, c.repeats, c.class_tokens, len(c.pictures)) for c in dataset.concepts] == [
        ("2_sks dog", 2, "sks dog", 2), ("5_", 5, "", 1), ("7", 7, "", 1), ("10_blue robot_x", 10, "blue robot_x", 1),
    ]  # fmt: skip
    assert dataset.repeats == [2, 2, 5, 7, 10]
    ignored = {finding.path.name for finding in dataset.findings if finding.code == "folder.ignored"}
    assert ignored == {"0_never", "-3_never", "robot"}
    assert codes(dataset).count("picture.ignored") == 1
    assert [finding.path.name for finding in dataset.findings if finding.code == "folder.empty"] == ["4_nothing"]


def test_a_numbered_folder_chosen_itself_counts_as_such(tmp_path, monkeypatch):
    for name in ("a", "b"):
        picture(tmp_path / "20_robot" / f"{name}.png")
    for folder in (tmp_path / "20_robot", Path(".")):
        monkeypatch.chdir(tmp_path / "20_robot")
        (concept,) = scan(folder, repeats=3).concepts
        assert (concept.name, concept.repeats, concept.class_tokens) == ("20_robot", 20, "robot")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("20_robot", (20, "robot")), ("3_a b_c", (3, "a b_c")), ("1_", (1, "")), ("7", (7, "")),
        ("0_x", None), ("-2_x", None), ("robot_20", None), ("1.5_x", None), ("", None),
    ],
)  # fmt: skip
def test_folder_names_are_read_as_kohya_reads_them(name, expected):
    assert kohya_name(name) == expected


def test_a_year_read_as_repeats_is_pointed_out(tmp_path):
    picture(tmp_path / "2024_summer" / "a.png", "x")
    dataset = scan(tmp_path / "2024_summer")
    assert "folder.many_repeats" in codes(dataset)
    picture(tmp_path / "20240131_party" / "a.png")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path / "20240131_party")
    assert caught.value.code == "dataset.repeats"


def test_captions_fall_back_to_the_folder_then_the_trigger_then_nothing(tmp_path):
    numbered, plain = tmp_path / "5_red robot", tmp_path / "plain"
    for folder in (numbered, plain):
        picture(folder / "missing.png")
        picture(folder / "empty.png", "  \n")
    for folder, trigger, caption, source in (
        (numbered, "mofumo", "red robot", "folder"), (plain, "mofumo", "mofumo", "trigger"), (plain, "", "", "none"),
    ):  # fmt: skip
        dataset = scan(folder, trigger=trigger)
        assert {(p.caption, p.caption_source) for p in dataset.pictures} == {(caption, source)}
        assert [(f.code, f.path.name) for f in dataset.findings] == [
            ("caption.empty", "empty.txt"),
            ("caption.missing", "missing.png"),
        ]


def test_an_undecodable_caption_is_named_and_replaced(tmp_path):
    picture(tmp_path / "a.png").with_suffix(".txt").write_bytes("소녀가 웃고 있다".encode("euc_kr"))
    picture(tmp_path / "b.png").with_suffix(".txt").write_bytes("女の子、笑顔".encode("cp932"))
    dataset = scan(tmp_path, trigger="mofumo")
    assert [p.caption for p in dataset.pictures] == ["mofumo", "女の子、笑顔"]
    assert [(f.code, f.path.name) for f in dataset.findings] == [("caption.undecodable", "a.txt")]
    declared = scan(tmp_path, caption_encoding="euc_kr")
    assert declared.pictures[0].caption == "소녀가 웃고 있다"


def test_both_caption_extensions_are_read_and_doubles_are_pointed_out(tmp_path):
    picture(tmp_path / "a.png").with_suffix(".caption").write_text("only this", encoding="utf-8")
    picture(tmp_path / "b.png", "the text\nmore").with_suffix(".caption").write_text("the other", encoding="utf-8")
    picture(tmp_path / "c.png").with_suffix(".TXT").write_text("upper case", encoding="utf-8")
    dataset = scan(tmp_path)
    assert [p.caption for p in dataset.pictures] == ["only this", "the text", "upper case"]
    assert codes(dataset) == ["caption.two_files", "caption.further_lines"]


def test_a_caption_is_found_whichever_way_the_system_spells_accents(tmp_path):
    picture(tmp_path / (unicodedata.normalize("NFD", "ガ é") + ".png"))
    (tmp_path / "ガ é.txt").write_text("found", encoding="utf-8")
    assert scan(tmp_path).pictures[0].caption == "found"


def test_two_pictures_of_one_name_are_pointed_out_and_both_used(tmp_path):
    picture(tmp_path / "a.png", "shared")
    picture(tmp_path / "a.webp")
    dataset = scan(tmp_path)
    assert [p.caption for p in dataset.pictures] == ["shared", "shared"]
    (finding,) = dataset.findings
    assert finding.code == "picture.same_stem" and set(finding.values.values()) == {"a.png", "a.webp"}


def test_sizes_are_upright(tmp_path):
    save_turned(signpost(), tmp_path / "a.jpg", 6)
    save_turned(signpost(), tmp_path / "b.jpg", 3)
    assert [p.size for p in scan(tmp_path).pictures] == [(120, 80), (120, 80)]


def test_every_file_that_cannot_be_used_is_named_with_its_reason(tmp_path):
    paths = make_nasty(tmp_path)
    (tmp_path / "._shadow.png").write_bytes(b"what a Mac leaves behind")
    dataset = scan(tmp_path)
    assert {p.path for p in dataset.pictures} == {paths[name] for name in READABLE | {"truncated"}}
    refused = {f.path: f for f in dataset.findings if f.code in ("picture.unreadable", "picture.too_large")}
    assert set(refused) == {paths[name] for name in REFUSED_BY_HEADER}
    assert refused[paths["bomb"]].code == "picture.too_large"
    assert "empty" in refused[paths["empty"]].text and "link" in refused[paths["dangling"]].text
    assert all(finding.values for finding in refused.values())


def test_a_single_picture_is_possible_but_pointed_out(tmp_path):
    picture(tmp_path / "a.png", "x")
    assert codes(scan(tmp_path)) == ["dataset.one_picture"]


def test_folders_without_pictures_say_what_was_looked_for(tmp_path):
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    picture(tmp_path / "robot" / "a.png")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path)
    assert caught.value.code == "dataset.no_pictures"
    assert ".png, .jpg, .jpeg, .webp, .bmp" in caught.value.expected
    assert "10_robot" in caught.value.todo


def test_a_folder_of_broken_pictures_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path)
    assert caught.value.code == "dataset.no_pictures"
    assert "a.png" in caught.value.todo


@pytest.mark.parametrize("name", ["missing", "file.txt", "x" * 300])
def test_what_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path / name)
    assert caught.value.code == "dataset.not_a_folder"


def test_names_sort_as_people_count():
    names = ["10.png", "2.png", "a10.png", "A2.png", "a1.png", "1.png", "b.png", "あ2.png", "あ10.png"]
    expected = ["1.png", "2.png", "10.png", "a1.png", "A2.png", "a10.png", "b.png", "あ2.png", "あ10.png"]
    assert sorted(names, key=natural_key) == expected


def test_the_fingerprint_follows_every_byte_that_is_trained_on(tmp_path):
    make_photos(tmp_path / "set", 3, seed=4)
    folder = tmp_path / "set"
    first = scan(folder).fingerprint()
    os.utime(folder / "picture 1.png")
    (folder / "unrelated.md").write_text("x", encoding="utf-8")
    assert scan(folder).fingerprint() == first
    folder.rename(tmp_path / "moved")
    folder = tmp_path / "moved"
    assert scan(folder).fingerprint() == first
    seen = {first}
    (folder / "picture 1.txt").write_text("another caption", encoding="utf-8")
    seen.add(scan(folder).fingerprint())
    for extension in ("bmp", "txt"):
        (folder / f"picture 3.{extension}").rename(folder / f"picture 5.{extension}")
    seen.add(scan(folder).fingerprint())
    Image.new("RGB", (9, 9)).save(folder / "picture 1.png")
    seen.add(scan(folder).fingerprint())
    assert len(seen) == 4


def test_a_file_that_vanishes_is_reported(tmp_path):
    picture(tmp_path / "a.png", "x")
    dataset = scan(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DatasetError) as caught:
        dataset.fingerprint()
    assert caught.value.code == "dataset.changed"


def test_what_the_web_process_reads_datasets_with_imports_no_torch():
    modules = "scan, captions, buckets, decode, sampler, dataset, encodings"
    program = f"from engine.datasets import {modules}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
