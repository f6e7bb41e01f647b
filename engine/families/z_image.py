"""Z-Image: flow matching in one stream of text and picture, told by Qwen3 (Tongyi-MAI 2025).

The transformer takes lists, one entry a picture, and pads them itself; it is told how far the picture has come (1 is clean)
instead of how noisy it is, and answers with picture - noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.families.base import Conditions, Family
from engine.generation.embeddings import Embeddings
from engine.generation.qwen_text import MAX_TOKENS, QwenConditioning, chat_tokens, encode_chat, pad_texts
from engine.generation.sampling.flow_levels import even_levels


class ZImage(Family):
    def schedule_options(self, width: int, height: int, steps: int) -> dict[str, Any]:
        return {"sigmas": even_levels(steps)}

    def conditioning(
        self, clip_skip: int, emphasis: Emphasis = "Original", embeddings: Embeddings | None = None
    ) -> QwenConditioning:
        return QwenConditioning(self.tokenizers["text_encoder"], self.parts["text_encoder"], emphasis, embeddings)

    def encode_tokens(self, captions: Sequence[str], clip_skip: int) -> Conditions:
        tokenizer, encoder = self.tokenizers["text_encoder"], self.parts["text_encoder"]
        return pad_texts([encode_chat(chat_tokens(text, tokenizer)[:MAX_TOKENS], encoder) for text in captions], MAX_TOKENS)

    def predict(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        pictures = latents.to(self.dtype)[:, :, None].unbind()
        texts = [text[kept.bool()] for text, kept in zip(conditions["text"].to(self.dtype), conditions["mask"], strict=True)]
        clean = (1000 - timesteps) / 1000
        return -torch.stack(self.denoiser(list(pictures), clean, texts, return_dict=False)[0])[:, :, 0]
