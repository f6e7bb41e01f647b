"""Captioners of the real classes, tiny and with random weights: what they are shown and asked is what they answer to."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from engine.config.caption import TAGGERS
from engine.datasets.taggers.captioner import clean
from engine.datasets.taggers.qwen_vl import MOST_PIXELS, reduced
from engine.datasets.taggers.registry import tagger_module
from engine.errors import EngineError, ModelError
from tests.support.captioners import SAVERS
from tests.support.pictures import drawing

KINDS = list(SAVERS)
Open = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("captioners")
    return {kind: save(root / kind) for kind, save in SAVERS.items()}


@pytest.fixture
def opened(folders: dict[str, Path]) -> Open:
    def opened(kind: str, device: str = "cpu", **options: Any) -> AbstractContextManager[Any]:
        return tagger_module(kind).open_tagger(TAGGERS[kind](**{"max_tokens": 12, **options}), folders[kind], device)

    return opened


def pictures() -> list[Image.Image]:
    return [drawing((90 + 20 * seed, 80), random.Random(seed)) for seed in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_says_depends_on_the_picture_and_on_nothing_else(opened: Open, kind: str) -> None:
    with opened(kind) as tagger:
        first, second = ([tagger.look(picture).sentence for picture in pictures()] for _ in range(2))
    assert first == second and len(set(first)) > 1 and all(first)
    assert not any(sign in sentence for sentence in first for sign in "<[|\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_ends_where_it_shall(opened: Open, kind: str) -> None:
    lengths = []
    for most in (3, 12):
        with opened(kind, max_tokens=most) as tagger:
            lengths.append(max(len(tagger.look(picture).sentence.split()) for picture in pictures()))
    assert 0 < lengths[0] <= 3 < lengths[1] <= 12


@pytest.mark.parametrize("kind", ["blip", "blip2"])
def test_a_sentence_begins_as_it_is_told_to(opened: Open, kind: str) -> None:
    with opened(kind, prompt=" a photo of ") as tagger:
        told = [tagger.look(picture).sentence for picture in pictures()]
    assert all(sentence.startswith("a photo of ") for sentence in told) and len(set(told)) > 1


def test_a_question_is_no_part_of_the_answer(opened: Open) -> None:
    with opened("blip2", prompt="a house on a chair") as tagger:
        begun = tagger.look(pictures()[0]).sentence
    with opened("blip2", prompt="a house on a chair:") as tagger:
        asked = tagger.look(pictures()[0]).sentence
    assert begun.startswith("a house on a chair") and not asked.startswith("a house on a chair")


def test_each_task_of_florence_is_asked_in_its_own_words(opened: Open) -> None:
    asked = set()
    for task in ("caption", "detailed_caption", "more_detailed_caption"):
        with opened("florence2", task=task) as tagger:
            inputs = tagger.processor(images=pictures()[0], text=f"<{task.upper()}>", return_tensors="pt")
            asked.add(tuple(inputs["input_ids"][0].tolist()))
            assert tagger.look(pictures()[0]).sentence
    assert len(asked) == 3


def test_qwen_is_shown_all_of_a_picture_and_asked_what_one_wants(opened: Open) -> None:
    with opened("qwen_vl", instruction="a red cat") as tagger:
        inputs = tagger.inputs(Image.new("RGB", (120, 60), "red"))
        signs = int((inputs["input_ids"] == tagger.model.config.image_token_id).sum())
        assert (
            signs
            == inputs["mm_token_type_ids"].sum()
            == inputs["image_grid_thw"].prod() // 4
            == len(inputs["pixel_values"]) // 4
            > 1
        )
        assert tagger.tokenizer.decode(inputs["input_ids"][0]).count("a red cat") == 1
        one = tagger.look(pictures()[0]).sentence
    with opened("qwen_vl", instruction="blue house") as tagger:
        assert tagger.look(pictures()[0]).sentence != one


def test_large_pictures_are_reduced_in_their_shape() -> None:
    small = reduced(Image.new("RGB", (4000, 2000)), MOST_PIXELS)
    assert small.width * small.height <= MOST_PIXELS and abs(small.width / small.height - 2) < 0.01
    assert reduced(small, MOST_PIXELS) is small
    assert reduced(Image.new("RGB", (100_000, 20)), 100).size == (707, 1)


def test_its_memory_is_free_when_it_is_closed_and_its_numbers_are_as_asked(opened: Open) -> None:
    with opened("blip", precision="bfloat16") as tagger:
        assert {weight.dtype for weight in tagger.model.parameters()} == {torch.bfloat16}
        assert tagger.look(pictures()[0]).sentence
    assert {weight.device.type for weight in tagger.model.parameters()} == {"meta"}


def test_a_device_that_is_not_there_is_named(opened: Open) -> None:
    with pytest.raises(EngineError) as caught, opened("blip", device="cuda:7"):
        pass
    assert caught.value.code == "device.unavailable"


@pytest.mark.parametrize("kind", KINDS)
def test_pickled_weights_are_not_read(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.ones(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError) as caught, tagger_module(kind).open_tagger(TAGGERS[kind](), folder, "cpu"):
        pass
    assert caught.value.code == "tagger.unusable"


@pytest.mark.parametrize("missing", ["tokenizer.json", "chat_template.jinja", "preprocessor_config.json"])
def test_a_folder_that_lacks_something_is_named(folders: dict[str, Path], tmp_path: Path, missing: str) -> None:
    folder = shutil.copytree(folders["qwen_vl"], tmp_path / "lacking")
    (folder / missing).unlink()
    with (
        pytest.raises(ModelError, match="lacking") as caught,
        tagger_module("qwen_vl").open_tagger(TAGGERS["qwen_vl"](), folder, "cpu"),
    ):
        pass
    assert caught.value.code == "tagger.unusable"


@pytest.mark.parametrize(
    ("text", "wanted"), [("  a cat\n\n sits \t", "a cat sits"), ("a\x00b\x1b[31m", "a b [31m"), ("が", "が"), ("a\u2028b", "a b")]
)
def test_an_answer_is_one_clean_line(text: str, wanted: str) -> None:
    assert clean(text) == wanted
