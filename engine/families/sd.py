"""Stable Diffusion 1.x and 2.x: a U-Net that denoises latents, one CLIP text encoder, a VAE (Rombach et al. 2022).

The starter is one too. VAE factor, prediction type, noise schedule and sizes are read from the model, never assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from engine.config.choices import Emphasis
from engine.families.base import Conditions
from engine.families.inpainting import Inpainting
from engine.generation.conditioning import ClipConditioning, caption_tokens, encode_tokens
from engine.generation.embeddings import Embeddings


class StableDiffusion(Inpainting):
    embedding_parts: ClassVar = {"text_encoder": ""}

    def conditioning(
        self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> ClipConditioning:
        return ClipConditioning(
            self.tokenizers["text_encoder"], self.parts["text_encoder"],
            clip_skip=clip_skip, emphasis=emphasis, embeddings=embeddings,
        )  # fmt: skip

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        encoder = self.parts["text_encoder"]
        return {"text": encode_tokens(caption_tokens(captions, self.tokenizers["text_encoder"], encoder), encoder, clip_skip)}

    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        return self.denoiser(self.unet_input(latents, conditions), timesteps, conditions["text"].to(self.dtype)).sample
