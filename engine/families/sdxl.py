"""SDXL and its offspring: a larger U-Net, two text encoders, and the sizes of the picture told beside them (Podell et al. 2023).

Clip skip means nothing here: the layer that SDXL was trained on is the last but one, which AUTOMATIC1111's and Kohya's clip skip
leave alone too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.families.base import Conditions, Placing
from engine.families.inpainting import Inpainting
from engine.generation.clip_pair import ClipPair, encode_pair
from engine.generation.conditioning import caption_tokens
from engine.generation.embeddings import Embeddings

ENCODERS = ("text_encoder", "text_encoder_2")


class StableDiffusionXL(Inpainting):
    embedding_parts: ClassVar = dict(zip(ENCODERS, ("clip_l", "clip_g"), strict=True))

    def conditioning(self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None) -> ClipPair:
        tokenizers, encoders = [self.tokenizers[name] for name in ENCODERS], [self.parts[name] for name in ENCODERS]
        return ClipPair(tokenizers, encoders, emphasis, embeddings)

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        encoders = [self.parts[name] for name in ENCODERS]
        tokens = [caption_tokens(captions, self.tokenizers[name], self.parts[name]) for name in ENCODERS]
        return encode_pair(tokens, encoders)

    def picture_conditions(self, placings: Sequence[Placing]) -> Conditions:
        """ "sizes" (B, 6), px: height and width of the original, top and left of the cut, height and width of the frame."""
        rows = [[*each.original[::-1], *each.corner[::-1], *each.frame[::-1]] for each in placings]
        return {"sizes": torch.tensor(rows, dtype=torch.float32, device=self.device)}

    def schedule_options(self, width: int, height: int, steps: int) -> dict[str, Any]:
        return {"kin": "sdxl"}

    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        added = {"text_embeds": conditions["pooled"].to(self.dtype), "time_ids": conditions["sizes"]}
        text = conditions["text"].to(self.dtype)
        return self.denoiser(self.unet_input(latents, conditions), timesteps, text, added_cond_kwargs=added).sample
