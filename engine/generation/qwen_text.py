"""Prompts for Qwen3, a language model that reads them as a message in a chat (Z-Image).

It is asked for what it thinks of each token, in its last layer but one. Emphasis has no meaning for it: brackets are taken out
and weights ignored, and what was asked for in vain is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.errors import PromptError
from engine.generation.attention import BREAK, parse_attention, plain_text
from engine.generation.embeddings import Embeddings
from engine.generation.prompt import too_long

MAX_TOKENS = 512
"""The longest message, as in Z-Image's own pipeline; the signs of the chat around the prompt count."""


def chat_tokens(text: str, tokenizer: Any) -> list[int]:
    """The token ids of a text as the one message of a chat that is about to be answered."""
    message = [{"role": "user", "content": text}]
    wrapped = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, enable_thinking=True)
    return tokenizer(wrapped, truncation=False, verbose=False).input_ids


def encode_chat(tokens: Sequence[int], encoder: Any) -> Tensor:
    """The hidden states (T, D) of one message, before the encoder's last layer.

    Each text goes through the encoder alone and without padding, so that its encoding never depends on the others.
    """
    ids = torch.tensor([tokens], device=encoder.device)
    return encoder(ids, output_hidden_states=True, use_cache=False).hidden_states[-2][0]


def pad_texts(texts: Sequence[Tensor], length: int) -> dict[str, Tensor]:
    """Encodings (T_i, D) of any lengths as one batch: "text" (B, length, D), "mask" (B, length), true where there is a token."""
    padded = torch.stack([torch.cat([text, text.new_zeros(length - len(text), text.shape[1])]) for text in texts])
    ends = torch.tensor([len(text) for text in texts], device=padded.device)
    return {"text": padded, "mask": torch.arange(length, device=padded.device) < ends[:, None]}


class QwenConditioning:
    """Texts to conditions.

    Attributes:
        problems: what could not be done as asked in the texts encoded so far.
    """

    def __init__(
        self, tokenizer: Any, encoder: Any, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> None:
        self.tokenizer, self.encoder = tokenizer, encoder
        self.emphasis, self.embeddings = emphasis, embeddings
        self._problems: list[PromptError] = []

    @property
    def problems(self) -> list[PromptError]:
        return [*self._problems, *(self.embeddings.problems if self.embeddings else [])]

    @torch.no_grad()
    def encode(self, texts: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """Encode each distinct text once. All of one call get the length of the longest.

        Returns:
            text -> its conditions for a batch of one.
        """
        encoded = {text: encode_chat(self._tokens(text), self.encoder) for text in texts}
        length = max((len(states) for states in encoded.values()), default=0)
        return {text: pad_texts([states], length) for text, states in encoded.items()}

    def _tokens(self, text: str) -> list[int]:
        if self.embeddings:
            self.embeddings.report_unread(text)
        tokens = chat_tokens(text if self.emphasis == "None" else plain_text(text), self.tokenizer)
        weighted = any(piece != BREAK and piece[1] != 1 for piece in parse_attention(text))
        if weighted and self.emphasis not in ("Ignore", "None"):
            self._problems.append(_no_emphasis(text))
        if len(tokens) > MAX_TOKENS:
            self._problems.append(too_long(len(tokens), MAX_TOKENS))
        return tokens[:MAX_TOKENS]


def _no_emphasis(text: str) -> PromptError:
    return PromptError(
        "prompt.no_emphasis", f"Brackets and weights have no effect in this model: {text[:80]!r}.",
        "Its text encoder reads plain sentences.", "Say it in words, or write \\( for a bracket.", prompt=text[:80],
    )  # fmt: skip
