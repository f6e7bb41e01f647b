from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model_facts import STARTER_FOLDER, model_facts, unread
from engine.token_counter import model_tokenizer, reader, tokenizer_file


def test_tokens_are_those_of_the_models_own_tokenizer() -> None:
    facts = model_facts(STARTER_FOLDER)
    tokenizer = model_tokenizer(facts)
    assert (
        tokenizer and reader(facts) == "text_encoder" and tokenizer_file(facts) == STARTER_FOLDER / "tokenizer" / "tokenizer.json"
    )
    for text, count in (("", 0), ("red", 1), ("red, red", 3), (" ".join(["red"] * 200), 200)):
        assert len(tokenizer.encode(text, add_special_tokens=False).ids) == count  # neither padded nor cut


def test_a_tokenizer_that_is_replaced_counts_at_once(tmp_path: Path) -> None:
    shutil.copytree(STARTER_FOLDER / "tokenizer", tmp_path / "tokenizer")
    facts = replace(model_facts(STARTER_FOLDER), location=tmp_path)
    assert model_tokenizer(facts) is model_tokenizer(facts)
    first, file = model_tokenizer(facts), tmp_path / "tokenizer" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["merges"] = []
    file.write_text(json.dumps(content), encoding="utf-8")
    second = model_tokenizer(facts)
    assert first and second and second is not first
    assert len(second.encode("red", add_special_tokens=False).ids) == 3


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_single_file_counts_with_the_tokenizer_that_ships(family: str, tmp_path: Path) -> None:
    facts = replace(model_facts(STARTER_FOLDER), family=family, location=tmp_path / "model.safetensors")
    file = tokenizer_file(facts)
    assert file and file.parent.name == "clip"


def test_nothing_is_counted_for_a_model_that_is_not_there() -> None:
    assert model_tokenizer(unread("somebody/model")) is None
