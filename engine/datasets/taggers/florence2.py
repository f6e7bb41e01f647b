"""Florence-2 (Xiao et al. 2023, arXiv:2311.06242): a sentence, or a paragraph, by the task it is given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import Florence2ForConditionalGeneration, Florence2Processor

from engine.config.caption import Florence2Options
from engine.datasets.taggers.base import Told
from engine.datasets.taggers.captioner import answer, clean, loaded

SEEN_BY = ("task", "beams", "max_tokens", "precision")


@contextmanager
def open_tagger(options: Florence2Options, folder: Path, device: str) -> Iterator[Florence2]:
    """See `TaggerModule.open_tagger`."""
    parts = {"processor": Florence2Processor.from_pretrained}
    with loaded(Florence2ForConditionalGeneration.from_pretrained, parts, folder, options, device) as made:
        yield Florence2(options, **made)


@dataclass(frozen=True)
class Florence2:
    options: Florence2Options
    model: Any
    processor: Any

    def look(self, picture: Image.Image) -> Told:
        """What it answers to its task."""
        inputs = self.processor(images=picture, text=f"<{self.options.task.upper()}>", return_tensors="pt")
        tokens = answer(self.model, inputs, self.options)
        return Told(sentence=clean(self.processor.tokenizer.decode(tokens, skip_special_tokens=True)))
