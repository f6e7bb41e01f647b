"""Why an adapter may do nothing: each reason is found where it holds and only there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.adapter_library import AdapterCard, named_adapters
from engine.config.generate import GenerateConfig
from engine.diagnosis import CERTAIN, ORDER, diagnose
from engine.model_facts import STARTER_FOLDER, ModelFacts, model_facts
from engine.sidecars import write_sidecar
from engine.workspace import Workspace
from tests.engine.test_library import lora, put

GOOD = {"ss_base_model_version": "sd_v1", "modelspec.trigger_phrase": "mofumo, robot", "ss_clip_skip": "None"}


@pytest.fixture
def facts() -> ModelFacts:
    """The starter: SD 1.x with v-prediction."""
    return model_facts(STARTER_FOLDER)


def shelf(tmp_path: Path, **metadata: str) -> dict[str, AdapterCard]:
    """A library of one file, `x`, whose text encoder is trained too."""
    workspace = Workspace(tmp_path).prepare()
    put(
        workspace.loras / "x.safetensors",
        lora(**metadata).replace(b"lora_unet_mid_block_attentions_0", b"lora_te_text_model_enc_layers_10"),
    )
    return named_adapters(workspace)


def codes(cards: dict[str, AdapterCard], facts: ModelFacts | None, prompt: str, **more) -> list[str]:
    applied = more.pop("applied", ())
    found = diagnose(GenerateConfig(prompt=prompt, **more), cards, facts, applied)
    assert [each.code for each in found] == sorted((each.code for each in found), key=ORDER.index)
    return [each.code.removeprefix("diagnosis.") for each in found]


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat", "a cat <lora:nothing:0>", "mofumo <lora:x:0.8>", "Mofumo_ <lyco:X>", "(mofumo:1.2)<lora:x:0.5:0.9>", "# <lora:x:0>",
        "a robot on the beach <lora:x:0:1>",
    ],
)  # fmt: skip
def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path, facts: ModelFacts, prompt: str) -> None:
    assert codes(shelf(tmp_path, **GOOD), facts, prompt) == []


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("mofumos robotic <lora:x:1>", ["trigger_missing"]), ("mofumo <lora:x:0>", ["strength_zero"]),
        ("mofumo <lora:x:0.1:-0.2>", ["weak"]), ("a cat <lora:x:0.1>", ["trigger_missing", "weak"]),
    ],
)  # fmt: skip
def test_the_prompt_may_be_the_reason(tmp_path: Path, facts: ModelFacts, prompt: str, found: list[str]) -> None:
    assert codes(shelf(tmp_path, **GOOD), facts, prompt) == found


def test_the_negative_prompt_may_be_the_reason(tmp_path: Path, facts: ModelFacts) -> None:
    cards = shelf(tmp_path, **GOOD)
    assert codes(cards, facts, "mofumo", negative_prompt="bad <lora:x:1>") == ["in_negative"]
    assert codes(cards, facts, "mofumo <lora:x:1>", negative_prompt=" mofumo ") == ["same_as_negative"]


def test_the_words_beside_the_file_come_before_those_inside(tmp_path: Path, facts: ModelFacts) -> None:
    cards = shelf(tmp_path, **GOOD)
    write_sidecar(cards["x"].path, {"activation text": "麦わら帽子"})
    assert codes(cards, facts, "mofumo <lora:x:1>") == ["trigger_missing"]
    assert codes(cards, facts, "海辺の麦わら帽子の子 <lora:x:1>") == []


def test_without_a_trigger_the_training_tags_are_advice(tmp_path: Path, facts: ModelFacts) -> None:
    tags = json.dumps({"1_x": {"red_hat": 9, "smile": 3}})
    cards = shelf(tmp_path, ss_base_model_version="sd_v1", ss_tag_frequency=tags)
    assert codes(cards, facts, "a cat <lora:x:1>") == ["words_missing"] and codes(cards, facts, "red hat <lora:x:1>") == []


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({"ss_base_model_version": "sdxl_base_v1-0"}, ["other_base"]), ({"ss_base_model_version": "anything"}, []),
        ({"ss_clip_skip": "2"}, ["clip_skip"]), ({"ss_clip_skip": "x"}, []),
        ({"ss_v_parameterization": "True"}, []), ({"modelspec.prediction_type": "v"}, []),
        ({"ss_v_parameterization": "False"}, ["other_prediction"]), ({"modelspec.prediction_type": "epsilon"}, ["other_prediction"]),
    ],
)  # fmt: skip
def test_the_model_may_be_the_reason(tmp_path: Path, facts: ModelFacts, metadata: dict, found: list[str]) -> None:
    cards = shelf(tmp_path, **(GOOD | metadata))
    assert codes(cards, facts, "mofumo <lora:x:1>") == found
    assert codes(cards, None, "mofumo <lora:x:1>") == []  # nothing is known of a model that is not there yet


def test_what_the_pictures_report_and_what_was_not_trained(tmp_path: Path, facts: ModelFacts) -> None:
    report = [{"name": "x", "matched": 3, "total": 5}, {"name": "y", "matched": 5, "total": 5}]
    assert codes(shelf(tmp_path, **GOOD), facts, "mofumo <lora:x:1>", applied=report) == ["unmatched"]
    workspace = Workspace(tmp_path)
    put(workspace.loras / "u.safetensors", lora(**GOOD))
    assert codes(named_adapters(workspace), facts, "mofumo <lora:u:1>") == ["no_text_encoder"]


def test_what_is_certain_is_a_kind_of_finding() -> None:
    assert set(ORDER) > CERTAIN
