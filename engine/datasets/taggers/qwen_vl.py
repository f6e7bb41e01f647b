"""Vision-language models of the Qwen-VL family (Wang et al. 2024, arXiv:2409.12191): an answer to an instruction.

Text and picture are put together here, since the family's processors also ask for a reader of videos, and that for torchvision.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from engine.config.caption import QwenVlOptions
from engine.datasets.taggers.base import Told
from engine.datasets.taggers.captioner import answer, clean, loaded
from engine.datasets.taggers.kinds import unusable

SEEN_BY = ("instruction", "max_tokens", "precision")
MOST_PIXELS = 1024 * 1024
"""Larger pictures are reduced: twice the pixels are twice the tokens, and the models take up to 12 Mpx."""


@contextmanager
def open_tagger(options: QwenVlOptions, folder: Path, device: str) -> Iterator[QwenVl]:
    """See `TaggerModule.open_tagger`."""
    parts = {"pictures": AutoImageProcessor.from_pretrained, "tokenizer": AutoTokenizer.from_pretrained}
    with loaded(AutoModelForImageTextToText.from_pretrained, parts, folder, options, device) as made:
        tokenizer = made["tokenizer"]
        tokenizer.chat_template = tokenizer.chat_template or _chat_template(folder)
        yield QwenVl(options, **made)


def _chat_template(folder: Path) -> str:
    """How messages are laid out, from the file that the processors of older models have it in."""
    try:
        return str(json.loads((folder / "chat_template.json").read_text(encoding="utf-8"))["chat_template"])
    except (OSError, ValueError, KeyError, TypeError):
        raise unusable(folder.name, "it has no chat template") from None


@dataclass(frozen=True)
class QwenVl:
    options: QwenVlOptions
    model: Any
    pictures: Any
    tokenizer: Any

    def look(self, picture: Image.Image) -> Told:
        """What it answers to the instruction."""
        inputs = self.inputs(picture)
        tokens = answer(self.model, inputs, self.options)[inputs["input_ids"].shape[1] :]
        return Told(sentence=clean(self.tokenizer.decode(tokens, skip_special_tokens=True)))

    def inputs(self, picture: Image.Image) -> dict[str, Any]:
        """The message with a token for each patch of the picture, (1, L), and the patches."""
        seen = self.pictures(images=reduced(picture, MOST_PIXELS), return_tensors="pt")
        content = [{"type": "image"}, {"type": "text", "text": self.options.instruction}]
        message = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        sign = self.tokenizer.convert_ids_to_tokens(self.model.config.image_token_id)
        patches = int(seen["image_grid_thw"].prod()) // self.pictures.merge_size**2
        text = self.tokenizer(message.replace(sign, sign * patches, 1), return_tensors="pt")
        kinds = (text["input_ids"] == self.model.config.image_token_id).int()
        return {**seen, "input_ids": text["input_ids"], "attention_mask": text["attention_mask"], "mm_token_type_ids": kinds}


def reduced(picture: Image.Image, most: int) -> Image.Image:
    """A picture of at most so many pixels, in its own shape."""
    scale = math.sqrt(most / (picture.width * picture.height))
    if scale >= 1:
        return picture
    width, height = (max(1, int(length * scale)) for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)
