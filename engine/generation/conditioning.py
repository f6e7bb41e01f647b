"""From chunks to what the U-Net attends to, for CLIP text encoders.

Knows token chunks and an encoder; no prompt grammar beyond handing text to it, no guidance, no picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch

from engine.errors import ConfigError, PromptError
from engine.generation.chunks import BACKTRACK, Chunk, chunk_tokens
from engine.generation.prompt import parse_attention

Emphasis = Literal["original", "no norm", "ignore", "none"]


def encode_chunks(
    chunks: Sequence[Chunk], text_encoder: torch.nn.Module, clip_skip: int = 1, emphasis: Emphasis = "original"
) -> torch.Tensor:
    """Encode chunks one by one and join them along the tokens.

    Each chunk goes through the encoder alone, so that a text's encoding never depends on what it was batched with.

    Args:
        clip_skip: which hidden state from the end is used, 1 the last; the final layer norm follows it.
        emphasis: "original" multiplies by the weights and rescales to the mean before, "no norm" only multiplies, "ignore" does
            neither (and "none" is the same here: it has no weights to begin with).

    Returns:
        (1, 77 * len(chunks), D) in the encoder's dtype, on its device.

    Raises:
        ConfigError: `clip_skip.range`.
    """
    return torch.cat([weight_tokens(_encode(chunk, text_encoder, clip_skip), chunk.weights, emphasis) for chunk in chunks], dim=1)


@torch.no_grad()
def _encode(chunk: Chunk, text_encoder: Any, clip_skip: int) -> torch.Tensor:
    return encode_tokens(torch.tensor([chunk.tokens], device=text_encoder.device), text_encoder, clip_skip)


def caption_tokens(captions: Sequence[str], tokenizer: Any, text_encoder: Any) -> torch.Tensor:
    """Token ids (B, 77) of captions. Plain words cut at one chunk: a caption is no prompt, brackets in it are brackets."""
    length = tokenizer.model_max_length
    made = tokenizer(list(captions), padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return made.input_ids.to(text_encoder.device)


def encode_tokens(tokens: torch.Tensor, text_encoder: Any, clip_skip: int = 1) -> torch.Tensor:
    """Token ids (B, 77) to hidden states (B, 77, D), differentiable.

    Args:
        clip_skip: which hidden state from the end is used, 1 the last; the final layer norm follows it.

    Raises:
        ConfigError: `clip_skip.range`.
    """
    layers = text_encoder.config.num_hidden_layers
    if not 1 <= clip_skip <= layers:
        raise ConfigError(
            "clip_skip.range", f"Clip skip {clip_skip} does not exist in this text encoder.",
            f"A number from 1 to {layers}.", "Choose 1 or 2.", field="clip_skip", value=clip_skip, layers=layers,
        )  # fmt: skip
    if clip_skip == 1:
        return text_encoder(tokens).last_hidden_state
    return final_norm(text_encoder)(text_encoder(tokens, output_hidden_states=True).hidden_states[-clip_skip])


def final_norm(text_encoder: torch.nn.Module) -> torch.nn.Module:
    """The layer norm after the last layer; where it hangs depends on the version of transformers and the class."""
    return next(module for name, module in text_encoder.named_modules() if name.split(".")[-1] == "final_layer_norm")


def weight_tokens(encoded: torch.Tensor, weights: Sequence[float], emphasis: Emphasis = "original") -> torch.Tensor:
    """Emphasis on one encoded chunk.

    Args:
        encoded: (1, T, D).
        weights: T numbers.
    """
    if emphasis in ("ignore", "none") or all(weight == 1 for weight in weights):
        return encoded
    values = encoded.float()
    weighted = values * torch.tensor(weights, dtype=torch.float32, device=encoded.device)[:, None]
    if emphasis == "original":
        ratio = values.mean() / weighted.mean()
        if torch.isfinite(ratio):  # a mean of exactly 0 has nothing to be rescaled by
            weighted = weighted * ratio
    return weighted.to(encoded.dtype)


class ClipConditioning:
    """Texts to encodings for one tokenizer and CLIP text encoder (Stable Diffusion 1.x and 2.x).

    Args:
        tokenizer: CLIPTokenizer.
        clip_skip: see `encode_chunks`.
        embeddings: first token id of a textual-inversion embedding -> its length in tokens.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: torch.nn.Module,
        *,
        clip_skip: int = 1,
        emphasis: Emphasis = "original",
        backtrack: int = BACKTRACK,
        embeddings: Mapping[int, int] | None = None,
    ) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.emphasis: Emphasis = emphasis
        self.clip_skip, self.backtrack, self.embeddings = clip_skip, backtrack, embeddings
        self.problems: list[PromptError] = []  # prompts of any length and with any weights are read

    def tokenize(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids

    def chunk(self, text: str) -> list[Chunk]:
        """Chunks of one plain text: no tags, no schedule left in it."""
        return chunk_tokens(
            [(text, 1.0)] if self.emphasis == "none" else parse_attention(text),
            self.tokenize,
            comma=next(iter(self.tokenize(",")), None),
            begin=self.tokenizer.bos_token_id,
            end=self.tokenizer.eos_token_id,
            pad=self.tokenizer.pad_token_id,
            backtrack=self.backtrack,
            embeddings=self.embeddings,
        )

    def encode(self, texts: Iterable[str]) -> dict[str, dict[str, torch.Tensor]]:
        """Encode each distinct text once.

        Shorter texts are filled up with whole empty chunks, so that all of one call, prompt and negative prompt and every stage
        of a schedule, have one length and fit one batch.

        Returns:
            text -> {"text": (1, 77 * n, D)}, the same n for all.
        """
        chunked = {text: self.chunk(text) for text in texts}
        (empty,) = self.chunk("")
        length = max((len(chunks) for chunks in chunked.values()), default=1)
        encoded: dict[Chunk, torch.Tensor] = {}
        for chunks in chunked.values():
            chunks += [empty] * (length - len(chunks))
            for chunk in set(chunks) - set(encoded):
                encoded[chunk] = encode_chunks([chunk], self.text_encoder, self.clip_skip, self.emphasis)
        return {text: {"text": torch.cat([encoded[chunk] for chunk in chunks], dim=1)} for text, chunks in chunked.items()}
