"""BLIP (Li et al. 2022, arXiv:2201.12086): a short sentence, which may begin with given words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from engine.config.caption import BlipOptions
from engine.datasets.taggers.base import Told
from engine.datasets.taggers.captioner import answer, clean, loaded

SEEN_BY = ("prompt", "beams", "max_tokens", "precision")


@contextmanager
def open_tagger(options: BlipOptions, folder: Path, device: str) -> Iterator[Blip]:
    """See `TaggerModule.open_tagger`."""
    parts = {"processor": BlipProcessor.from_pretrained}
    with loaded(BlipForConditionalGeneration.from_pretrained, parts, folder, options, device) as made:
        yield Blip(options, **made)


@dataclass(frozen=True)
class Blip:
    options: BlipOptions
    model: Any
    processor: Any

    def look(self, picture: Image.Image) -> Told:
        """The sentence, with the words that it was to begin with."""
        inputs = self.processor(images=picture, text=self.options.prompt.strip() or None, return_tensors="pt")
        tokens = answer(self.model, inputs, self.options)
        return Told(sentence=clean(self.processor.decode(tokens, skip_special_tokens=True)))
