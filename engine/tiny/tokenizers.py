"""Tokenizers with a few hundred words, of the three kinds that text encoders need; each spells what it does not know."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

from engine.starter.architecture import make_tokenizer

TEXTS = ["a photo of a red cat on a blue chair", "a drawing of a green house", "1girl, solo, looking at viewer"]
"""What the tokenizers have whole words for."""


def clip() -> CLIPTokenizer:
    return make_tokenizer(TEXTS)


def t5() -> T5Tokenizer:
    """A Unigram model (Kudo 2018) whose pieces are the characters of ASCII and a few words."""
    pieces = ["▁", *string.printable[:94], *sorted({f"▁{word}" for text in TEXTS for word in text.split()})]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer([*special, *((piece, -2.0 * (3 - min(len(piece), 2))) for piece in pieces)], extra_ids=0)


def qwen3() -> Qwen2Tokenizer:
    """Byte-level BPE with the signs that begin and end a message."""
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    made = Qwen2Tokenizer(learnt["vocab"], [tuple(pair) for pair in learnt["merges"]], eos_token="<|im_end|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    return made


TOKENIZERS: dict[str, Callable[[], Any]] = {"CLIPTokenizer": clip, "T5Tokenizer": t5, "Qwen2Tokenizer": qwen3}
"""Class in `model_index.json` -> a tiny tokenizer of it."""
