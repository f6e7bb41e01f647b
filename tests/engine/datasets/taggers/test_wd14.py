"""Taggers of WD14's form, on a real graph that answers with what it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from engine.config.caption import Wd14Options
from engine.datasets.taggers.base import Told
from engine.datasets.taggers.wd14 import open_tagger, prepare, read_table
from engine.errors import ModelError
from tests.support.onnx_taggers import ROWS, SIDE, save_tagger


def look(folder: Path, picture: Image.Image) -> Told:
    with open_tagger(Wd14Options(), folder, "cpu") as tagger:
        return tagger.look(picture)


def scores(folder: Path, picture: Image.Image) -> dict[str, float]:
    return {tag.name: round(tag.score, 3) for tag in look(folder, picture).tags}


@pytest.mark.parametrize("colour", ["blue", "red"])
def test_channels_come_in_as_blue_green_red_from_0_to_255(tmp_path: Path, colour: str) -> None:
    told = scores(save_tagger(tmp_path), Image.new("RGB", (40, 40), colour))
    assert {name: told.get(name, 0) for name in ("blue", "green", "red")} == {"blue": 0, "green": 0, "red": 0, colour: 1.0}


def test_a_picture_lies_on_a_white_square_in_the_middle(tmp_path: Path) -> None:
    told = scores(save_tagger(tmp_path), Image.new("RGB", (64, 32), "black"))
    assert told["white_corner"] == 1 and told["green"] == 0.5
    pixels = prepare(Image.new("RGB", (4 * SIDE, 2 * SIDE), "black"), SIDE)
    assert pixels.shape == (1, SIDE, SIDE, 3) and pixels.dtype == np.float32
    assert (pixels[0, 5:11] == 0).all() and (pixels[0, :3] == 255).all() and (pixels[0, -3:] == 255).all()


def test_a_picture_is_resized_by_keys_bicubic_kernel() -> None:
    """Keys 1981 with a = -1/2, widened when the picture becomes smaller."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        return np.where(x < 1, near, np.where(x < 2, far, 0))

    row = np.random.default_rng(0).integers(60, 200, 40)
    picture = Image.fromarray(np.repeat(np.repeat(row[None, :, None], 40, 0), 3, 2).astype(np.uint8))
    scale = 40 / SIDE
    weights = kernel((np.arange(40) + 0.5 - (np.arange(SIDE)[:, None] + 0.5) * scale) / scale)
    wanted = (weights / weights.sum(1, keepdims=True)) @ row
    assert np.abs(prepare(picture, SIDE)[0, 8, :, 0] - wanted).max() <= 1


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    assert (prepare(Image.fromarray(pixels), SIDE)[0] == pixels[:, :, ::-1]).all()


def test_a_strip_does_not_become_a_square_that_fills_the_memory() -> None:
    assert prepare(Image.new("RGB", (60_000, 3), "black"), SIDE).shape == (1, SIDE, SIDE, 3)


def test_what_is_as_good_as_absent_is_forgotten_and_ratings_are_not(tmp_path: Path) -> None:
    told = look(save_tagger(tmp_path), Image.new("RGB", (40, 40), (255, 5, 0)))
    assert [(tag.name, tag.category) for tag in told.tags] == [("red", "general"), ("safe", "rating"), ("explicit", "rating")]


def test_the_table_has_the_outputs_in_order(tmp_path: Path) -> None:
    categories = {0: "general", 4: "character", 9: "rating"}
    assert read_table(save_tagger(tmp_path)) == [(name, categories[category]) for name, category in ROWS]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"shape": ("N", 3, SIDE, SIDE)}, "not float pictures"),
        ({"shape": ("N", SIDE, SIDE + 1, 3)}, "not float pictures"),
        ({"shape": ("N", "H", "H", 3)}, "not float pictures"),
        ({"kind": TensorProto.UINT8}, "not float pictures"),
        ({"rows": ROWS[:-1]}, "has 7 rows"),
        ({"rows": [*ROWS[:-1], ("somebody", 1)]}, "category '1'"),
        ({"divisor": 1.0}, "no probabilities"),
    ],
)
def test_what_is_no_such_tagger_is_refused(tmp_path: Path, given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        look(save_tagger(tmp_path, **given), Image.new("RGB", (4, 4)))
    assert caught.value.code == "tagger.unusable"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", b"", "cannot be read"),
        ("model.onnx", b"not a graph", "cannot be read"),
        ("model.onnx", None, "no model.onnx"),
        ("selected_tags.csv", None, "no selected_tags.csv"),
        ("selected_tags.csv", b"", "has 0 rows"),
        ("selected_tags.csv", b"a,b\n1,2\n", "no table with name and category"),
        ("selected_tags.csv", b"name,category\nx\n", "category None"),
        ("selected_tags.csv", b"name,category\n\xff,0\n", "no table with name and category"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    file = save_tagger(tmp_path) / name
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        look(tmp_path, Image.new("RGB", (4, 4)))
