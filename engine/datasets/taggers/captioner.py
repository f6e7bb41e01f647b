"""What captioners of transformers share: loading a whole folder without running any code of it, and asking for a text.

Weights come from `.safetensors` files alone, and nothing is fetched. A folder that brings program code is refused by `place`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.config.caption import BeamOptions, CaptionerOptions
from engine.datasets.taggers.kinds import unusable
from engine.device import pick_device, pick_dtype
from engine.errors import EngineError
from engine.fitting import BIG

LOCAL = {"local_files_only": True}
Part = Callable[..., Any]
"""A class's `from_pretrained`."""


@contextmanager
def loaded(
    model: Part, parts: Mapping[str, Part], folder: Path, options: CaptionerOptions, device: str
) -> Iterator[dict[str, Any]]:
    """A model on its device and what prepares its input, by name; the model is "model".

    Raises:
        ModelError: `tagger.unusable`.
        DeviceError: the device or the number format is not there.
    """
    place = pick_device(device)
    dtype = pick_dtype(place, options.precision, BIG)
    try:
        made = {name: part(folder, **LOCAL) for name, part in parts.items()}
        network = model(folder, dtype=dtype, use_safetensors=True, **LOCAL)
    except EngineError:
        raise
    except Exception as error:  # a folder that lacks something makes the readers raise anything
        raise unusable(folder.name, " ".join(str(error).split())[:300] or type(error).__name__) from error
    made["model"] = network.to(place).eval()
    try:
        yield made
    finally:
        network.to("meta")  # whoever still holds it holds no memory
        if place.type == "cuda":
            torch.cuda.empty_cache()


def answer(model: Any, inputs: Mapping[str, Tensor], options: CaptionerOptions) -> Tensor:
    """The tokens (L,) of the likeliest text: nothing is drawn at random, so the same picture has the same caption."""
    ready = {name: value.to(model.device, model.dtype if value.is_floating_point() else None) for name, value in inputs.items()}
    beams = options.beams if isinstance(options, BeamOptions) else 1
    with torch.inference_mode():
        return model.generate(**ready, max_new_tokens=options.max_tokens, num_beams=beams, do_sample=False)[0]


def clean(text: str) -> str:
    """A model's answer as one line of a caption: Unicode NFC, without control characters and double spaces."""
    text = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text)
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text)).strip()
