"""BLIP-2 (Li et al. 2023, arXiv:2301.12597): a language model that is shown the picture; it goes on with given words or answers a question."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import Blip2ForConditionalGeneration, Blip2Processor

from engine.config.caption import Blip2Options
from engine.datasets.taggers.base import Told
from engine.datasets.taggers.captioner import answer, clean, loaded

SEEN_BY = ("prompt", "beams", "max_tokens", "precision")


@contextmanager
def open_tagger(options: Blip2Options, folder: Path, device: str) -> Iterator[Blip2]:
    """See `TaggerModule.open_tagger`."""
    parts = {"processor": Blip2Processor.from_pretrained}
    with loaded(Blip2ForConditionalGeneration.from_pretrained, parts, folder, options, device) as made:
        made["processor"].num_query_tokens = made["model"].config.num_query_tokens  # older folders do not say it to the processor
        yield Blip2(options, **made)


@dataclass(frozen=True)
class Blip2:
    options: Blip2Options
    model: Any
    processor: Any

    def look(self, picture: Image.Image) -> Told:
        """The sentence, with the words that it was to begin with; a prompt that ends with a colon is a question, and not part of it."""
        prompt = self.options.prompt.strip()
        inputs = self.processor(images=picture, text=prompt or None, return_tensors="pt")
        tokens = answer(self.model, inputs, self.options)
        if prompt.endswith(":") and not self.model.config.text_config.is_encoder_decoder:
            tokens = tokens[inputs["input_ids"].shape[1] :]
        return Told(sentence=clean(self.processor.decode(tokens, skip_special_tokens=True)))
