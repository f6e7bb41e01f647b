"""Every variant of every family, as a folder and as one file: found, named, loaded, and the same tensors either way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engine.families.loading import load_parts, load_tokenizers
from engine.formats.models import MODELS
from engine.model_facts import model_facts
from engine.tiny import make_tiny

VARIANTS = [(family, variant) for family, model in MODELS.items() for variant in model.variants]


@pytest.mark.parametrize(("family", "variant"), VARIANTS)
def test_folder_and_file_are_the_same_model(family: str, variant: str, tmp_path: Path) -> None:
    places = [make_tiny(family, tmp_path / "folder", variant=variant)]
    places.append(make_tiny(family, tmp_path / "files" / "one.safetensors", variant=variant, single_file=True))
    facts = [model_facts(place) for place in places]
    assert [(each.family, each.variant) for each in facts] == [(family, variant)] * 2
    assert {each.prediction for each in facts} == {MODELS[family].variants[variant].prediction}
    assert {each.resolution for each in facts} == {64}
    folder, file = (dict(load_parts(each, torch.float32)) for each in facts)
    assert folder.keys() == file.keys() == MODELS[family].parts.keys()
    for name, network in folder.items():
        one, other = network.state_dict(), file[name].state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    words = ["a red cat, 1girl", "  猫 "]
    for encoder, tokenizer in load_tokenizers(facts[0], folder).items():
        beside = load_tokenizers(facts[1], file)[encoder]
        assert type(beside) is type(tokenizer)
        assert beside(words, padding="max_length", max_length=64, truncation=True).input_ids == (
            tokenizer(words, padding="max_length", max_length=64, truncation=True).input_ids
        )
        assert beside.model_max_length == tokenizer.model_max_length and beside.chat_template == tokenizer.chat_template
