"""From chunks to what SDXL and SD3 attend to: two CLIP text encoders side by side, and a summary of the text.

Both give what comes out of their last but one layer, without the final layer norm (Podell et al. 2023, section 2.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from engine.config.choices import Emphasis
from engine.errors import PromptError
from engine.generation.chunks import Chunk
from engine.generation.conditioning import ClipConditioning, weight_tokens
from engine.generation.embeddings import Embeddings


def encode_pair(tokens: Sequence[Tensor], encoders: Sequence[Any]) -> dict[str, Tensor]:
    """Token ids (B, 77), one tensor for each encoder, to "text" (B, 77, D1 + D2) and "pooled" (B, P); differentiable.

    The summary is that of every encoder that projects one: the second of SDXL, both of SD3.
    """
    outputs = [encoder(each, output_hidden_states=True) for each, encoder in zip(tokens, encoders, strict=True)]
    pooled = [output.text_embeds for output in outputs if "text_embeds" in output]
    return {"text": torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), "pooled": torch.cat(pooled, dim=-1)}


class ClipPair:
    """Texts to encodings for two tokenizers and encoders; "pooled" is that of a text's first chunk.

    Args:
        tokenizers, encoders: of CLIPTextModels and CLIPTextModelWithProjections.
        embeddings: those that texts may name, each with vectors for both.
        empty_is_zero: an empty text is no text at all: zeros, as AUTOMATIC1111 and diffusers tell SDXL an empty negative prompt.
    """

    def __init__(
        self,
        tokenizers: Sequence[Any],
        encoders: Sequence[Any],
        emphasis: Emphasis = "Original",
        embeddings: Embeddings | None = None,
        empty_is_zero: bool = True,
    ) -> None:
        self.encoders, self.empty_is_zero = list(encoders), empty_is_zero
        self.problems: list[PromptError] = embeddings.problems if embeddings else []  # all else can be done
        self.clips = [
            ClipConditioning(tokenizer, encoder, emphasis=emphasis, embeddings=embeddings, place=place)
            for place, (tokenizer, encoder) in enumerate(zip(tokenizers, encoders, strict=True))
        ]

    def encode(self, texts: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """Encode each distinct text once, shorter ones filled up with empty chunks.

        Returns:
            text -> {"text": (1, 77 * n, D1 + D2), "pooled": (1, P)}, the same n for all.
        """
        chunked = {text: [clip.chunk(text) for clip in self.clips] for text in texts}
        length = max((len(chunks) for both in chunked.values() for chunks in both), default=1)
        empty = [clip.chunk("") for clip in self.clips]
        windows: dict[tuple[Chunk, ...], dict[str, Tensor]] = {}
        found: dict[str, dict[str, Tensor]] = {}
        for text, both in chunked.items():
            filled = [chunks + fill * (length - len(chunks)) for chunks, fill in zip(both, empty, strict=True)]
            pairs = list(zip(*filled, strict=True))
            for pair in set(pairs) - set(windows):
                windows[pair] = self._encode(pair)
            found[text] = {
                "text": torch.cat([windows[pair]["text"] for pair in pairs], dim=1),
                "pooled": windows[pairs[0]]["pooled"],
            }
        if self.empty_is_zero and "" in found:
            found[""] = {name: torch.zeros_like(each) for name, each in found[""].items()}
        return found

    @torch.no_grad()
    def _encode(self, pair: Sequence[Chunk]) -> dict[str, Tensor]:
        with ExitStack() as speaking:
            read = [clip.words.spoken(chunk.tokens) for clip, chunk in zip(self.clips, pair, strict=True)]
            encoded = encode_pair([speaking.enter_context(tokens) for tokens in read], self.encoders)
        widths = [encoder.config.hidden_size for encoder in self.encoders]
        parts = zip(encoded["text"].split(widths, dim=-1), pair, self.clips, strict=True)
        weighted = [weight_tokens(part, chunk.weights, clip.emphasis) for part, chunk, clip in parts]
        return {"text": torch.cat(weighted, dim=-1), "pooled": encoded["pooled"]}
