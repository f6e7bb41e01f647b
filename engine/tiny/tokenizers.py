"""Tokenizers with a few whole words, of the three kinds that text encoders need; what they do not know they spell."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from typing import Any

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

WORDS = [
    "a", "an", "and", "blue", "cat", "chair", "drawing", "girl", "green", "house", "looking", "of", "on", "photo", "red", "solo",
    "viewer",
]  # fmt: skip
BEGIN, END = "<|startoftext|>", "<|endoftext|>"


def clip() -> CLIPTokenizer:
    """Byte-pair encoding (Sennrich et al. 2016) whose words end with a sign."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = spell([*word[:-1], f"{word[-1]}</w>"] for word in WORDS)
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BEGIN, END]
    return CLIPTokenizer(
        {token: number for number, token in enumerate(tokens)},
        merges,
        unk_token=END,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=END,
    )


def t5() -> T5Tokenizer:
    """A Unigram model (Kudo 2018) of the characters of ASCII and the words, with T5's hundred signs for gaps."""
    pieces = [(sign, 0.0) for sign in ("<pad>", "</s>", "<unk>")]
    pieces += [(sign, -6.0) for sign in ("▁", *string.printable[:94])]
    pieces += [(f"▁{word}", -2.0) for word in WORDS if len(word) > 1]
    return T5Tokenizer(pieces + [(f"<extra_id_{number}>", 0.0) for number in reversed(range(100))])


def qwen3() -> Qwen2Tokenizer:
    """Byte-pair encoding of words with the space before them, and the signs that begin and end a message."""
    merges = spell([*before, *word] for word in WORDS for before in ("Ġ", ""))
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *map("".join, merges)]
    made = Qwen2Tokenizer({token: number for number, token in enumerate(tokens)}, merges, eos_token="<|im_end|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    return made


def spell(words: Iterable[list[str]]) -> list[tuple[str, str]]:
    """Merges that put words together from their letters, from left to right."""
    merges: dict[str, tuple[str, str]] = {}
    for first, *others in words:
        for letter in others:
            merges.setdefault(first + letter, (first, letter))
            first += letter
    return list(merges.values())


TOKENIZERS: dict[str, Callable[[], Any]] = {"CLIPTokenizer": clip, "T5Tokenizer": t5, "Qwen2Tokenizer": qwen3}
"""Class in `model_index.json` -> a tiny tokenizer of it."""
