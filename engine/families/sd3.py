"""Stable Diffusion 3 and 3.5: flow matching in two streams, told by two CLIP text encoders and T5 (Esser et al. 2024).

The transformer attends to CLIP's words, filled up to T5's width, and T5's words after them; the summaries of both CLIPs steer it
beside the noise level. Without T5 its words are zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.config.choices import Emphasis
from engine.errors import PromptError
from engine.families.base import Conditions, Family
from engine.generation.clip_pair import ClipPair, encode_pair
from engine.generation.conditioning import caption_tokens
from engine.generation.embeddings import Embeddings
from engine.generation.t5_text import T5Text

CLIPS = ("text_encoder", "text_encoder_2")
T5_LENGTH = 256
"""Tokens of every text, as diffusers and Kohya's trainer have it."""


class StableDiffusion3(Family):
    embedding_parts: ClassVar = dict(zip(CLIPS, ("clip_l", "clip_g"), strict=True))

    def conditioning(
        self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> Sd3Conditioning:
        return Sd3Conditioning(self, emphasis, embeddings)

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        encoders = [self.parts[name] for name in CLIPS]
        tokens = [caption_tokens(captions, self.tokenizers[name], self.parts[name]) for name in CLIPS]
        t5 = self.t5_text()
        return self.joined(encode_pair(tokens, encoders), t5.encode_captions(captions) if t5 else None)

    def clip_pair(self, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None) -> ClipPair:
        """The reader of whole prompts that both CLIPs are."""
        tokenizers, encoders = [self.tokenizers[name] for name in CLIPS], [self.parts[name] for name in CLIPS]
        return ClipPair(tokenizers, encoders, emphasis, embeddings, empty_is_zero=False)

    def t5_text(self, emphasis: Emphasis = "Original") -> T5Text | None:
        """The reader of whole prompts that T5 is, where the model has it."""
        encoder = self.parts.get("text_encoder_3")
        return T5Text(self.tokenizers["text_encoder_3"], encoder, T5_LENGTH, emphasis) if encoder else None

    def joined(self, clip: Conditions, t5: Tensor | None) -> Conditions:
        """What the transformer attends to: CLIP's "text" (B, T, D1 + D2) and, one after the other, T5's (B, T5_LENGTH, D)."""
        words, width = clip["text"], self.denoiser.config.joint_attention_dim
        rest = words.new_zeros(len(words), T5_LENGTH, width) if t5 is None else t5.to(words)
        return clip | {"text": torch.cat([pad(words, (0, width - words.shape[-1])), rest], dim=1)}

    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        return self.denoiser(
            hidden_states=latents.to(self.dtype),
            encoder_hidden_states=conditions["text"].to(self.dtype),
            pooled_projections=conditions["pooled"].to(self.dtype),
            timestep=timesteps,
        ).sample


class Sd3Conditioning:
    """Prompts to conditions. T5 reads the names of embeddings as words.

    Attributes:
        problems: what could not be done as asked in the texts encoded so far.
    """

    def __init__(self, model: StableDiffusion3, emphasis: Emphasis, embeddings: Embeddings | None) -> None:
        self.model, self.clips, self.t5_text = model, model.clip_pair(emphasis, embeddings), model.t5_text(emphasis)

    @property
    def problems(self) -> list[PromptError]:
        return [*self.clips.problems, *(self.t5_text.problems if self.t5_text else [])]

    @torch.no_grad()
    def encode(self, texts: Iterable[str]) -> dict[str, Conditions]:
        """Encode each distinct text once.

        Returns:
            text -> {"text": (1, 77 * n + T5_LENGTH, D), "pooled": (1, P)}, the same n for all. CLIP reads texts of any length.
        """
        clips = self.clips.encode(texts)
        return {
            text: self.model.joined(clip, self.t5_text.encode(text) if self.t5_text else None) for text, clip in clips.items()
        }
