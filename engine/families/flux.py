"""FLUX.1: flow matching in latents packed 2x2, told by T5, one vector of CLIP and, in dev, a guidance (Black Forest Labs 2024)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.errors import PromptError
from engine.families.base import Conditions, Family
from engine.generation.attention import plain_text
from engine.generation.conditioning import caption_tokens
from engine.generation.embeddings import Embeddings
from engine.generation.sampling.flow_levels import even_levels
from engine.generation.t5_text import T5Text


class Flux(Family):
    def conditioning(
        self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> FluxConditioning:
        return FluxConditioning(self, emphasis, embeddings)

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        return {"text": self.t5_text().encode_captions(captions), "pooled": self.pool(captions)}

    def t5_text(self, emphasis: Emphasis = "Original") -> T5Text:
        """The reader of whole prompts."""
        tokenizer, encoder = self.tokenizers["text_encoder_2"], self.parts["text_encoder_2"]
        return T5Text(tokenizer, encoder, self.facts.habits.text_length, emphasis)

    def pool(self, texts: Sequence[str]) -> Tensor:
        """Plain texts, cut at CLIP's length, as one vector each, (B, D); differentiable."""
        encoder = self.parts["text_encoder"]
        return encoder(caption_tokens(texts, self.tokenizers["text_encoder"], encoder)).pooler_output

    def schedule_options(self, width: int, height: int, steps: int) -> dict[str, Any]:
        """Even noise levels, and how far dev moves them towards noise, `mu`: more the larger the picture."""
        levels = {"sigmas": even_levels(steps)}
        config = self.scheduler_config
        if not config.get("use_dynamic_shifting"):
            return levels
        _, rows, columns = self.latent_shape(width, height)
        least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        return levels | {"mu": low + (high - low) * (rows * columns // 4 - least) / (most - least)}

    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        height, width = latents.shape[-2:]
        text = conditions["text"].to(self.dtype)
        return unpack(
            self.denoiser(
                pack(latents.to(self.dtype)),
                encoder_hidden_states=text,
                pooled_projections=conditions["pooled"].to(self.dtype),
                timestep=timesteps / 1000,
                img_ids=positions(height // 2, width // 2, latents.device),
                txt_ids=torch.zeros(text.shape[1], 3, device=latents.device),
                guidance=self._guidance(conditions, latents),
            ).sample,
            height,
            width,
        )

    def _guidance(self, conditions: Conditions, latents: Tensor) -> Tensor | None:
        """What dev is told, (B,); schnell is told nothing."""
        if not self.denoiser.config.guidance_embeds:
            return None
        usual = latents.new_full((len(latents),), self.facts.habits.distilled_guidance)
        return conditions.get("guidance", usual)


class FluxConditioning:
    """Prompts to conditions.

    Attributes:
        problems: what could not be done as asked in the texts encoded so far.
    """

    def __init__(self, model: Flux, emphasis: Emphasis, embeddings: Embeddings | None) -> None:
        self.model, self.t5_text, self.embeddings = model, model.t5_text(emphasis), embeddings

    @property
    def problems(self) -> list[PromptError]:
        return [*self.t5_text.problems, *(self.embeddings.problems if self.embeddings else [])]

    @torch.no_grad()
    def encode(self, texts: Iterable[str]) -> dict[str, Conditions]:
        """Encode each distinct text once.

        Returns:
            text -> {"text": (1, T, D), "pooled": (1, D')}. CLIP's one vector is of the plain words.
        """
        encoded = {}
        for text in texts:
            if self.embeddings:
                self.embeddings.report_unread(text)
            plain = text if self.t5_text.emphasis == "None" else plain_text(text)
            encoded[text] = {"text": self.t5_text.encode(text), "pooled": self.model.pool([plain])}
        return encoded


def pack(latents: Tensor) -> Tensor:
    """Latents (B, C, h, w) as tokens of 2x2 pixels, (B, h/2 * w/2, 4 C)."""
    cut = latents.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens (B, h/2 * w/2, 4 C) as latents (B, C, h, w)."""
    cut = tokens.unflatten(1, (height // 2, width // 2)).unflatten(3, (-1, 2, 2))
    return cut.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """Where each token of a picture stands: (rows * columns, 3), of which the first axis is 0."""
    axes = (torch.arange(size, device=device) for size in (1, rows, columns))
    return torch.cartesian_prod(*axes).float()
