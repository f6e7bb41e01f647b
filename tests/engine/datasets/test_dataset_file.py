from __future__ import annotations

import pytest

from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.datasets.dataset_file import NAME, read_dataset_file, write_dataset_file
from engine.errors import DatasetError


def test_what_is_written_is_read_back(tmp_path):
    concepts = [ConceptOptions(folder="猫 と犬", repeats=3, kind="pose", trigger="yes", class_tokens="1.5"), ConceptOptions()]
    file = DatasetFile(kind="style", trigger="モフモ: #1", concepts=concepts)
    write_dataset_file(tmp_path, file)
    read = read_dataset_file(tmp_path)
    assert read and read.concepts[0] == concepts[0] and (read.kind, read.trigger) == (file.kind, file.trigger)
    write_dataset_file(tmp_path, read)
    assert read_dataset_file(tmp_path) == read


def test_what_a_concept_leaves_out_comes_from_the_dataset_and_kohyas_name(tmp_path):
    (tmp_path / NAME).write_text(
        "kind: outfit\nconcepts:\n- folder: 20_red hat\n- {folder: 20_x, repeats: 5, class_tokens: '', kind: pose}\n- {}\n"
    )
    file = read_dataset_file(tmp_path)
    assert file and [(c.folder, c.repeats, c.class_tokens, c.kind) for c in file.concepts] == [
        ("20_red hat", 20, "red hat", "outfit"), ("20_x", 5, "", "pose"), (".", 1, "", "outfit"),
    ]  # fmt: skip


def test_a_folder_without_one_says_nothing(tmp_path):
    assert read_dataset_file(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: [", "line 1"),
        ("a: 1\na: 2", "a is set twice"),
        ("kind: robot", "kind: Input should be 'character', 'style'"),
        ("concepts:\n- {folder: a}\n- {folder: b, repeats: many}", "concepts[2].repeats: Input should be a valid integer"),
        ("concepts: [{folder: ../b}]", "concepts[1].folder: '../b' is not the name of a sub-folder"),
        ("concepts: [{folder: _masks}]", "'_masks' is not the name"),
        ("concepts: [{folder: a}, {folder: a}]", "concepts: a folder is listed twice"),
        ("concepts: [{folder: a, repeat: 3}]", "concepts[1].repeat: Extra inputs"),
        ("version: 99", "version 99"),
        ("- a", "named settings"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path, text, told):
    (tmp_path / NAME).write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_dataset_file(tmp_path)
    assert caught.value.code == "dataset.file" and NAME in caught.value.what and told in caught.value.what
