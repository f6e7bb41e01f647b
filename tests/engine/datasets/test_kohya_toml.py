from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.config.dataset_file import ConceptOptions, DatasetFile
from engine.config.load import nested, validate
from engine.config.train import TrainConfig
from engine.datasets.dataset_file import filled_in, write_dataset_file
from engine.datasets.kohya_import import common_folder, from_kohya_toml
from engine.datasets.kohya_keys import CONCEPT_KEYS, LEFT_OUT, RUN_KEYS
from engine.datasets.kohya_toml import to_kohya_toml
from engine.errors import DatasetError

# ---- what Kohya's trainer accepts ----

SIZED = {
    "resolution": int, "batch_size": int, "enable_bucket": bool, "min_bucket_reso": int, "max_bucket_reso": int,
    "bucket_reso_steps": int, "bucket_no_upscale": bool, "validation_seed": int, "validation_split": float,
    "network_multiplier": float, "resize_interpolation": str,
}  # fmt: skip
SHOWN = {
    "num_repeats": int, "class_tokens": str, "caption_extension": str, "keep_tokens": int, "keep_tokens_separator": str,
    "secondary_separator": str, "caption_separator": str, "shuffle_caption": bool, "enable_wildcard": bool, "caption_prefix": str,
    "caption_suffix": str, "caption_dropout_rate": (int, float), "caption_dropout_every_n_epochs": int,
    "caption_tag_dropout_rate": (int, float), "token_warmup_min": int, "token_warmup_step": (int, float), "color_aug": bool,
    "flip_aug": bool, "face_crop_aug_range": list, "random_crop": bool, "cache_info": bool, "custom_attributes": dict,
}  # fmt: skip
SUBSET_ONLY = {"image_dir": str, "is_reg": bool, "alpha_mask": bool, "metadata_file": str, "conditioning_data_dir": str}


def accepted(text: str) -> dict[str, Any]:
    data = tomllib.loads(text)
    assert set(data) == {"general", "datasets"}
    levels = [(data["general"], SIZED | SHOWN)]
    for dataset in data["datasets"]:
        levels.append(({key: value for key, value in dataset.items() if key != "subsets"}, SIZED | SHOWN))
        levels += [(subset, SHOWN | SUBSET_ONLY) for subset in dataset["subsets"]]
        assert all("image_dir" in subset for subset in dataset["subsets"])
    for options, schema in levels:
        assert all(isinstance(value, schema[key]) for key, value in options.items())
    return data


def test_every_option_has_a_word_here():
    assert {*RUN_KEYS, *CONCEPT_KEYS, *LEFT_OUT} - {"skip_image_resolution"} == {*SIZED, *SHOWN, *SUBSET_ONLY}


# ---- there and back ----


def pictures(folder: Path, *names: str, caption: str | None = None) -> None:
    for name in names:
        file = folder / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(file)
        if caption is not None:
            file.with_suffix(".txt").write_text(caption, encoding="utf-8")


FILES = [
    DatasetFile(concepts=[ConceptOptions()]),
    DatasetFile(kind="style", trigger='モフモ "x"', concepts=[
        ConceptOptions(folder=".", repeats=4, kind="pose", trigger="robo"), ConceptOptions(folder="猫 と'犬", kind="style"),
        ConceptOptions(folder="reg", repeats=2, class_tokens="person", regularisation=True, kind="style"),
    ]),
    DatasetFile(trigger="mofumo", concepts=[ConceptOptions(folder="20_hat", repeats=3, class_tokens="x"), ConceptOptions(folder=".")]),
]  # fmt: skip


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("caption", [None, "a caption", "mofumo, robo"])
def test_what_is_exported_comes_back(tmp_path, file, caption):
    folder = tmp_path / "セット's"
    for concept in file.concepts:
        pictures(folder, f"{concept.folder}/a", f"{concept.folder}/b", caption=caption)
    write_dataset_file(folder, file)
    settings = nested({
        "dataset.resolution": 768, "training.batch_size": 3, "dataset.enable_buckets": True, "dataset.bucket_min": 256,
        "dataset.bucket_max": 1024, "dataset.bucket_step": 32, "dataset.no_upscale": True, "dataset.shuffle_tags": True,
        "dataset.keep_tags": 2, "dataset.caption_dropout": 0.05, "dataset.flip": True,
    })  # fmt: skip
    text = to_kohya_toml(folder, validate(TrainConfig, settings))
    accepted(text)
    found = from_kohya_toml(text, folder)
    assert found.file == filled_in(file) and found.settings == settings and found.of("ignored") == []
    assert common_folder(text, tmp_path / "elsewhere") == folder
    write_dataset_file(folder, found.file)
    assert to_kohya_toml(folder, validate(TrainConfig, found.settings)) == text


def test_without_settings_the_command_line_decides(tmp_path):
    pictures(tmp_path, "a", caption="x")
    (dataset,) = accepted(to_kohya_toml(tmp_path))["datasets"]
    assert {*dataset} == {"batch_size", "enable_bucket", "bucket_no_upscale", "subsets"}


def test_bucket_sizes_that_are_computed_are_written_out(tmp_path):
    pictures(tmp_path, "a", caption="x")
    config = TrainConfig.model_validate({"dataset": {"resolution": 1024}})
    (dataset,) = accepted(to_kohya_toml(tmp_path, config))["datasets"]
    assert (dataset["resolution"], dataset["min_bucket_reso"], dataset["max_bucket_reso"]) == (1024, 512, 2048)
    config.dataset.enable_buckets = False
    (dataset,) = accepted(to_kohya_toml(tmp_path, config))["datasets"]
    assert dataset["enable_bucket"] is False and "min_bucket_reso" not in dataset


def test_the_trigger_is_put_where_kohyas_trainer_adds_it_only_if_no_caption_has_it(tmp_path):
    config = TrainConfig.model_validate({"dataset": {"trigger": "mofumo"}})
    pictures(tmp_path / "1_without", "a", "b", caption="a robot")
    pictures(tmp_path / "2_with", "a", "b", caption="a mofumo")
    pictures(tmp_path / "3_mixed", "a", caption="a mofumo")
    pictures(tmp_path / "3_mixed", "b", caption="a robot")
    text = to_kohya_toml(tmp_path, config)
    (dataset,) = accepted(text)["datasets"]
    assert [subset.get("caption_prefix") for subset in dataset["subsets"]] == ["mofumo,", None, None]
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# '3_mixed': 1 captions lack 'mofumo', and nothing will add it to them."
    ]
    config.dataset.add_trigger = False
    assert "caption_prefix" not in to_kohya_toml(tmp_path, config)


def test_captions_that_kohyas_trainer_would_not_read_are_told(tmp_path):
    pictures(tmp_path, "a", "b", "c")
    for name in ("a.caption", "b.caption", "c.txt"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    text = to_kohya_toml(tmp_path)
    assert accepted(text)["datasets"][0]["subsets"][0]["caption_extension"] == ".caption"
    assert text.startswith(f"# {tmp_path.name!r}: 1 captions are not in files ending in .caption")


# ---- files of others ----

FOREIGN = r"""
[general]
shuffle_caption = true
keep_tokens = 1
caption_extension = '.txt'
color_aug = true
num_repeats = 2

[[datasets]]
resolution = [512, 768]
batch_size = 4
keep_tokens = 2
made_up = 1

  [[datasets.subsets]]
  image_dir = 'C:\train\20_hoge'
  class_tokens = 'hoge girl'
  caption_prefix = "hoge, "

  [[datasets.subsets]]
  image_dir = 'fuga'
  num_repeats = 5
  keep_tokens = 3
  flip_aug = false
  random_crop = false

  [[datasets.subsets]]
  is_reg = true
  image_dir = './reg/'
  class_tokens = 'human'

  [[datasets.subsets]]
  image_dir = 'elsewhere/else'
  num_repeats = 7

[[datasets]]
resolution = 1024

  [[datasets.subsets]]
  image_dir = 'fuga'

  [[datasets.subsets]]
  image_dir = '_masks'
"""


def test_a_file_of_others_is_read_with_a_word_on_every_option(tmp_path):
    (tmp_path / "20_hoge").mkdir()
    found = from_kohya_toml(FOREIGN, tmp_path)
    assert found.file.concepts == [
        ConceptOptions(folder="20_hoge", repeats=2, class_tokens="hoge girl", trigger="hoge"),
        ConceptOptions(folder="fuga", repeats=5),
        ConceptOptions(folder="reg", repeats=2, class_tokens="human", regularisation=True),
    ]
    assert found.settings == {
        "dataset": {"resolution": 624, "shuffle_tags": True, "keep_tags": 2, "flip": False}, "training": {"batch_size": 4},
    }  # fmt: skip
    fates = {option.place: option.fate for option in found.options}
    assert len(fates) == len(found.options) == 25
    assert {place for place, fate in fates.items() if fate == "ignored"} == {
        "general.color_aug", "datasets[1].made_up", "datasets[1].subsets[4].image_dir", "datasets[1].subsets[4].num_repeats",
        "datasets[2].subsets[1].image_dir", "datasets[2].subsets[2].image_dir",
    }  # fmt: skip
    assert {place for place, fate in fates.items() if fate == "translated"} == {
        "datasets[1].subsets[1].image_dir", "datasets[1].subsets[1].caption_prefix", "datasets[1].resolution",
        "datasets[2].resolution", "general.keep_tokens", "datasets[1].keep_tokens", "datasets[1].subsets[2].keep_tokens",
    }  # fmt: skip
    assert all(option.note for option in found.options if option.fate != "taken")


def test_folders_are_found_by_their_names_where_the_file_is_from_another_machine(tmp_path):
    folder = tmp_path / "robots"
    (folder / "10_red").mkdir(parents=True)
    for image_dir, name in (
        (r"D:\x\robots\10_red", "10_red"),
        ("/home/x/robots", "."),
        (str(folder), "."),
        (f"{folder}/10_red/", "10_red"),
    ):
        text = f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{image_dir}'\n"
        assert [concept.folder for concept in from_kohya_toml(text, folder).file.concepts] == [name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[general]\na = \nb = 1", "line 2"), ("a = 1", "'a' is neither"), ("datasets = 3", "datasets is not a list of tables"),
        ("datasets = [0]", "datasets is not"), ("[[datasets]]\nsubsets = [1]", "datasets[1].subsets is not"),
        ("general = []", "general is not a table"), ("", "none of the folders"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = '/nowhere/x'", "none of the folders"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nnum_repeats = 99999", "repeats: Input should be less than"),
        ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nclass_tokens = 3", "class_tokens"),
        ("[[datasets]]\nbatch_size = 1000\n[[datasets.subsets]]\nimage_dir = 'a'", "training.batch_size: expected a whole number from 1 to 256"),
        ("[[datasets]]\nresolution = [1, 2, 3]\n[[datasets.subsets]]\nimage_dir = 'a'", "neither a side nor two"),
    ],
)  # fmt: skip
def test_a_broken_file_is_refused_with_its_place(tmp_path, text, told):
    with pytest.raises(DatasetError) as caught:
        from_kohya_toml(text, tmp_path)
    assert caught.value.code == "dataset.toml" and told in caught.value.what


def test_pictures_that_are_not_trained_on_stay_out(tmp_path):
    subset = "[[datasets.subsets]]\nimage_dir = '{}'\nnum_repeats = {}\n"
    found = from_kohya_toml("[[datasets]]\n" + subset.format("a", 0) + subset.format("b", 1), tmp_path)
    assert [concept.folder for concept in found.file.concepts] == ["b"]
    assert "less than one repeat" in found.of("ignored")[0].note
