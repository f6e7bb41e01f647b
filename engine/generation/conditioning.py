"""From chunks to what the U-Net attends to, for CLIP text encoders.

Knows token chunks and an encoder; no prompt grammar beyond handing text to it, no guidance, no picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from engine.config.choices import Emphasis
from engine.errors import ConfigError, PromptError
from engine.generation.attention import parse_attention
from engine.generation.chunks import BACKTRACK, Chunk, chunk_tokens
from engine.generation.embeddings import Embeddings
from engine.generation.vocabulary import Vocabulary


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


def weight_tokens(encoded: torch.Tensor, weights: Sequence[float], emphasis: Emphasis = "Original") -> torch.Tensor:
    """Emphasis on one encoded chunk.

    Args:
        encoded: (1, T, D).
        weights: T numbers.
        emphasis: "Original" multiplies by the weights and rescales to the mean before, "No norm" only multiplies, "Ignore" does
            neither (and "None" is the same here: it has no weights to begin with).
    """
    if emphasis in ("Ignore", "None") or all(weight == 1 for weight in weights):
        return encoded
    values = encoded.float()
    weighted = values * torch.tensor(weights, dtype=torch.float32, device=encoded.device)[:, None]
    if emphasis == "Original":
        ratio = values.mean() / weighted.mean()
        if torch.isfinite(ratio):  # a mean of exactly 0 has nothing to be rescaled by
            weighted = weighted * ratio
    return weighted.to(encoded.dtype)


class ClipConditioning:
    """Texts to encodings for one tokenizer and CLIP text encoder (Stable Diffusion 1.x and 2.x).

    Args:
        tokenizer: CLIPTokenizer.
        clip_skip: see `encode_tokens`.
        embeddings: those that texts may name.
        place: which of the embeddings' encoders this one is.

    Attributes:
        problems: what could not be done as asked in the texts encoded so far.
    """

    def __init__(
        self,
        tokenizer: Any,
        text_encoder: torch.nn.Module,
        *,
        clip_skip: int = 1,
        emphasis: Emphasis = "Original",
        backtrack: int = BACKTRACK,
        embeddings: Embeddings | None = None,
        place: int = 0,
    ) -> None:
        self.tokenizer, self.text_encoder = tokenizer, text_encoder
        self.emphasis: Emphasis = emphasis
        self.clip_skip, self.backtrack = clip_skip, backtrack
        self.words = Vocabulary(tokenizer, text_encoder, embeddings, place)
        self.problems: list[PromptError] = embeddings.problems if embeddings else []  # all else can be done

    def chunk(self, text: str) -> list[Chunk]:
        """Chunks of one plain text: no tags, no schedule left in it."""
        return chunk_tokens(
            [(text, 1.0)] if self.emphasis == "None" else parse_attention(text),
            self.words.read,
            comma=next(iter(self.words.tokenize(",")), None),
            begin=self.tokenizer.bos_token_id,
            end=self.tokenizer.eos_token_id,
            pad=self.tokenizer.pad_token_id,
            backtrack=self.backtrack,
            embeddings=self.words.lengths,
        )

    @torch.no_grad()
    def encode_chunk(self, chunk: Chunk) -> torch.Tensor:
        """One window as (1, 77, D). It goes through the encoder alone, so that it never depends on what it was batched with.

        Raises:
            ConfigError: `clip_skip.range`.
        """
        with self.words.spoken(chunk.tokens) as tokens:
            return weight_tokens(encode_tokens(tokens, self.text_encoder, self.clip_skip), chunk.weights, self.emphasis)

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
                encoded[chunk] = self.encode_chunk(chunk)
        return {text: {"text": torch.cat([encoded[chunk] for chunk in chunks], dim=1)} for text, chunks in chunked.items()}
