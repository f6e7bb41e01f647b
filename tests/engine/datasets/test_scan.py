from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

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


CONCEPTS = """
kind: style
trigger: mofumo
concepts:
  - {folder: ., repeats: 2, trigger: robo}
  - {folder: people, repeats: 3, class_tokens: person, regularisation: true}
  - {folder: 4_hat}
  - {folder: gone}
"""


def concept_set(folder: Path) -> Path:
    for name in ("own", "people/a", "people/b", "people/c", "people/d", "4_hat/x", "7_kohya/y", "other/z", "_excluded/e"):
        picture(folder / f"{name}.png")
    (folder / "dataset.yaml").write_text(CONCEPTS, encoding="utf-8")
    return folder


def test_the_folders_of_dataset_yaml_are_trained_on_as_it_says_and_kohyas_beside_them(tmp_path):
    dataset = scan(concept_set(tmp_path / "set"), repeats=99)
    assert [(c.name, c.repeats, c.class_tokens, c.regularisation, c.kind, c.trigger) for c in dataset.concepts] == [
        ("set", 2, "", False, "style", "robo"), ("people", 3, "person", True, "style", ""), ("4_hat", 4, "hat", False, "style", ""),
        ("7_kohya", 7, "kohya", False, "style", ""),
    ]  # fmt: skip
    assert [(p.caption, p.caption_source, p.trigger) for p in dataset.pictures] == [
        ("robo", "trigger", "robo"), *[("person", "folder", "")] * 4, ("hat", "folder", "mofumo"), ("kohya", "folder", "mofumo"),
    ]  # fmt: skip
    assert (dataset.views_per_epoch, dataset.repeats) == (13, [2, 4, 3, 3, 3, 4, 7])
    told = {finding.code: finding.path.name for finding in dataset.findings if not finding.code.startswith("caption.")}
    assert told == {"folder.missing": "gone", "folder.ignored": "other"}
    assert dataset.triggers() == ["robo", "mofumo"]


def test_the_runs_word_goes_before_the_datasets_and_behind_a_concepts(tmp_path):
    dataset = scan(concept_set(tmp_path), trigger="fluffy")
    assert [p.trigger for p in dataset.pictures] == ["robo", *[""] * 4, None, None]
    assert dataset.triggers("fluffy") == ["robo", "fluffy"]


def test_regularisation_pictures_that_are_too_many_are_left_over(tmp_path):
    for index in range(20):
        picture(tmp_path / "reg" / f"{index}.png", "someone")
    for index in range(3):
        picture(tmp_path / "mine" / f"{index}.png", "mine")
    concepts = "concepts:\n  - {folder: reg, regularisation: true}\n  - {folder: mine, repeats: 3}\n"
    (tmp_path / "dataset.yaml").write_text(concepts, encoding="utf-8")
    dataset = scan(tmp_path)
    assert dataset.repeats == [1] * 9 + [0] * 11 + [3] * 3 and dataset.views_per_epoch == 9
    assert [(f.code, f.values["count"]) for f in dataset.findings] == [("regularisation.left_over", "11")]


def test_own_pictures_that_are_not_listed_are_pointed_out(tmp_path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "inner" / "b.png", "x")
    (tmp_path / "dataset.yaml").write_text("concepts: [{folder: inner}]", encoding="utf-8")
    assert codes(scan(tmp_path)) == ["picture.unlisted", "dataset.one_picture"]


def test_a_dataset_yaml_without_concepts_leaves_the_folders_as_they_are(tmp_path):
    picture(tmp_path / "3_robot" / "a.png")
    plain = scan(tmp_path)
    (tmp_path / "dataset.yaml").write_text("trigger: mofumo\nkind: object\n", encoding="utf-8")
    described = scan(tmp_path)
    assert [p.path for p in described.pictures] == [p.path for p in plain.pictures] and described.repeats == plain.repeats == [3]
    assert (plain.triggers(), described.triggers(), described.concepts[0].kind) == ([], ["mofumo"], "object")
    assert (plain.sources, described.sources) == ((), (tmp_path / "dataset.yaml",))


def test_nothing_but_regularisation_is_refused(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "dataset.yaml").write_text("concepts: [{regularisation: true}]", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path)
    assert caught.value.code == "dataset.only_regularisation"


def test_captions_in_metadata_count_where_a_picture_has_no_file(tmp_path):
    picture(tmp_path / "2_robot" / "a.png", "of its file")
    picture(tmp_path / "2_robot" / "b.png")
    picture(tmp_path / "2_robot" / "c.png")
    picture(tmp_path / "2_robot" / "d.png", " ")
    (tmp_path / "meta_cap.json").write_text(json.dumps({name: {"caption": f"{name} told"} for name in "abd"}), encoding="utf-8")
    dataset = scan(tmp_path)
    assert [(p.caption, p.caption_source) for p in dataset.pictures] == [
        ("of its file", "file"), ("b told", "metadata"), ("robot", "folder"), ("robot", "folder"),
    ]  # fmt: skip
    assert codes(dataset) == ["caption.missing", "caption.empty"] and dataset.sources == (tmp_path / "meta_cap.json",)
    (tmp_path / "meta_cap.json").write_text("{", encoding="utf-8")
    assert [f.path.name for f in scan(tmp_path).findings if f.code == "caption.metadata"] == ["meta_cap.json"]


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


def test_what_the_web_process_reads_datasets_with_imports_no_torch():
    modules = "scan, captions, buckets, decode, sampler, dataset, encodings, concepts, content, dataset_file, listing"
    program = f"from engine.datasets import {modules}; import sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
