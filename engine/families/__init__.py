"""Base-model families, one file each. `FAMILIES` is the one place that lists them; classes are imported when first needed."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine.errors import ModelError
from engine.families.base import Family
from engine.families.hub import download
from engine.families.loading import load_parts, load_schedule, load_tokenizers
from engine.families.placing import settle
from engine.formats.models import MODELS
from engine.library import model_facts

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES: dict[str, tuple[str, str]] = {
    "sd1": ("engine.families.sd", "StableDiffusion"),
    "sd2": ("engine.families.sd", "StableDiffusion"),
    "sdxl": ("engine.families.sdxl", "StableDiffusionXL"),
    "sd3": ("engine.families.sd3", "StableDiffusion3"),
    "flux": ("engine.families.flux", "Flux"),
    "z_image": ("engine.families.z_image", "ZImage"),
}
"""Family, a key of `engine.formats.models.MODELS` -> (module, class)."""


def load_model(
    location: Path | str, device: torch.device, dtype: torch.dtype, on_progress: Callable[[int, int], None] | None = None,
    quantization: str = "none", streamed_blocks: int = 0,
) -> Family:  # fmt: skip
    """Load a base model; its family is told from the files.

    Args:
        location: what `engine.library.find_model` gave: a folder, a file, or a Hugging Face id, which is downloaded first.
        on_progress: bytes done and in all while downloading.
        quantization: "none", or a key of `engine.families.quantise.FORMATS` for the denoiser and large text encoders.
        streamed_blocks: how many blocks of the denoiser stay in main memory; see `engine.families.streaming`.

    Raises:
        ModelError: missing, damaged, an adapter, or of another family; as `engine.families.quantise.quantise`.
    """
    if isinstance(location, str):
        # the folder of a download is named by a hash
        facts = replace(model_facts(download(location, on_progress)), name=location)
    else:
        facts = model_facts(location)
    module, name = FAMILIES[facts.family]
    try:
        parts = load_parts(facts, dtype)
        tokenizers, schedule = load_tokenizers(facts, parts), load_schedule(facts)
        settle(parts, MODELS[facts.family].denoiser, device, quantization, streamed_blocks)
        return getattr(import_module(module), name)(facts, parts, tokenizers, schedule, device, dtype)
    except ModelError as error:
        error.values.setdefault("field", "model.path")
        raise
