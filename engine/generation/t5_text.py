"""Prompts for a T5 encoder (SD3, FLUX.1): one window of fixed length, emphasis on what comes out.

Padding is read like words, as it was when the models were trained: there is no attention mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.errors import PromptError
from engine.generation.attention import BREAK
from engine.generation.conditioning import weight_tokens
from engine.generation.prompt import parse_attention, too_long


class T5Text:
    """Texts to encodings.

    Args:
        tokenizer: T5Tokenizer.
        encoder: T5EncoderModel.
        length: tokens of every text, the end sign included: shorter ones are padded, longer ones cut.

    Attributes:
        problems: the prompts encoded so far that were cut.
    """

    def __init__(self, tokenizer: Any, encoder: Any, length: int, emphasis: Emphasis = "Original") -> None:
        self.tokenizer, self.encoder, self.length = tokenizer, encoder, length
        self.emphasis: Emphasis = emphasis
        self.problems: list[PromptError] = []

    @torch.no_grad()
    def encode(self, text: str) -> Tensor:
        """A prompt, weights in brackets and all, as (1, length, D). BREAK means nothing here."""
        words, weights = self._words(text)
        if len(words) >= self.length:
            self.problems.append(too_long(len(words), self.length - 1))
        words, weights = words[: self.length - 1], weights[: self.length - 1]
        rest = self.length - len(words) - 1
        tokens = [*words, self.tokenizer.eos_token_id, *[self.tokenizer.pad_token_id] * rest]
        encoded = self._states(torch.tensor([tokens]))
        return weight_tokens(encoded, [*weights, *[1.0] * (rest + 1)], self.emphasis)

    def _words(self, text: str) -> tuple[list[int], list[float]]:
        """Token ids without an end sign, and their weights."""
        found = [
            (token, weight)
            for piece, weight in ([(text, 1.0)] if self.emphasis == "None" else parse_attention(text))
            if (piece, weight) != BREAK
            for token in self.tokenizer(piece, add_special_tokens=False, truncation=False, verbose=False).input_ids
        ]
        return [token for token, _ in found], [weight for _, weight in found]

    def encode_captions(self, captions: Sequence[str]) -> Tensor:
        """Plain words, brackets and all, as (B, length, D); differentiable."""
        tokens = self.tokenizer(
            list(captions), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        return self._states(tokens.input_ids)

    def _states(self, tokens: Tensor) -> Tensor:
        return self.encoder(tokens.to(self.encoder.device)).last_hidden_state
