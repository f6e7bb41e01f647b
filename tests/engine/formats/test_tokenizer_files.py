"""Tokenizers for single files: the right vocabulary is found, a wrong one is never taken, a missing one is explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.formats.models.base import CONFIGS
from engine.formats.tokenizer_files import MOST_PADDING, find_tokenizer
from engine.tiny import tokenizers

T5_CONFIG = CONFIGS / "flux_dev" / "tokenizer_2"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def put(folder: Path, kind: str) -> int:
    """A tiny vocabulary there, nothing but its words. Returns how many."""
    made = getattr(tokenizers, kind)()
    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(made.backend_tokenizer.to_str(), encoding="utf-8")
    return len(made)


def test_beside_the_checkpoint_by_its_kind(tmp_path: Path) -> None:
    words = put(tmp_path / "tokenizers" / "t5", "t5")
    for rows in (words, words + 28, words + MOST_PADDING):
        assert len(find_tokenizer(tmp_path / "a.safetensors", "t5", T5_CONFIG, rows)) == words
    made = find_tokenizer(tmp_path / "a.safetensors", "t5", T5_CONFIG, words)
    assert made.model_max_length == 512
    assert made("a cat").input_ids[-1] == made.eos_token_id == 1


def test_beside_the_checkpoint_in_the_folder_of_a_download(tmp_path: Path) -> None:
    words = put(tmp_path / "tokenizer_2", "t5")
    assert len(find_tokenizer(tmp_path / "a.safetensors", "t5", T5_CONFIG, words)) == words


@pytest.mark.parametrize("more", [-1, MOST_PADDING + 1])
def test_one_that_does_not_fit_is_not_taken(more: int, tmp_path: Path) -> None:
    words = put(tmp_path / "tokenizers" / "t5", "t5")
    with pytest.raises(ModelError) as caught:
        find_tokenizer(tmp_path / "a.safetensors", "t5", T5_CONFIG, words + more)
    assert caught.value.code == "model.no_tokenizer"
    assert str(tmp_path / "tokenizers" / "t5") in caught.value.todo and "tokenizer.json" in caught.value.expected


def test_settings_of_the_model_hold_for_every_vocabulary(tmp_path: Path) -> None:
    words = put(tmp_path / "tokenizers" / "qwen3", "qwen3")
    config = CONFIGS / "z_image" / "tokenizer"
    made = find_tokenizer(tmp_path / "a.safetensors", "qwen3", config, words)
    chat = [{"role": "user", "content": "a cat"}]
    text = made.apply_chat_template(chat, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert text == "<|im_start|>user\na cat<|im_end|>\n<|im_start|>assistant\n"
    assert len(made("<|im_start|>").input_ids) == 1, "a sign, not seven letters"
    assert made.eos_token == json.loads((config / "tokenizer_config.json").read_text(encoding="utf-8"))["eos_token"]
    assert made.pad_token_id not in (None, made.eos_token_id)


def test_second_tokenizer_of_sdxl_pads_with_nothing(tmp_path: Path) -> None:
    first, second = (
        find_tokenizer(tmp_path / "a.safetensors", "clip", CONFIGS / "sdxl" / name, 49408)
        for name in ("tokenizer", "tokenizer_2")
    )
    assert (first.pad_token_id, second.pad_token_id) == (49407, 0)
