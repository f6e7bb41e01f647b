"""Base-model families, one file each. `FAMILIES` is the one place that lists them; classes are imported when first needed."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine.config.choices import ModelChoice
from engine.errors import ModelError
from engine.families.base import Family
from engine.families.hub import download
from engine.families.loading import load_parts, load_schedule, load_tokenizers
from engine.families.placing import settle
from engine.formats.models import MODELS
from engine.formats.pickled import convert
from engine.library import choose, facts_in, find_model, pickles
from engine.model_facts import ModelFacts, model_facts
from engine.workspace import Workspace

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


def ready_model(
    choice: ModelChoice, workspace: Workspace, on_progress: Callable[[int, int], None] | None = None
) -> ModelFacts:  # fmt: skip
    """Facts of a chosen model whose files can be read: what is not on this disk is downloaded, pickles are converted.

    Raises:
        ModelError: as `engine.library.choose`, `engine.families.hub.download`, `engine.formats.pickled.convert`.
    """
    location = find_model(choice.model, workspace)
    folder = download(location, on_progress) if isinstance(location, str) else None
    for file in pickles(choice, workspace):
        convert(file, workspace.cache)
    return facts_in(folder, choice, workspace, str(location)) if folder else choose(choice, workspace)


def load_model(
    model: ModelFacts | Path | str, device: torch.device, dtype: torch.dtype, on_progress: Callable[[int, int], None] | None = None,
    quantization: str = "none", streamed_blocks: int = 0,
) -> Family:  # fmt: skip
    """Load a base model; its family is told from the files.

    Args:
        model: its facts, whose files can be read; a folder, a file, or a Hugging Face id, which is downloaded first.
        on_progress: bytes done and in all while downloading.
        quantization: "none", or a key of `engine.families.quantise.FORMATS` for the denoiser and large text encoders.
        streamed_blocks: how many blocks of the denoiser stay in main memory; see `engine.families.streaming`.

    Raises:
        ModelError: missing, damaged, an adapter, or of another family; as `engine.families.quantise.quantise`.
    """
    if isinstance(model, str):
        # the folder of a download is named by a hash
        facts = replace(model_facts(download(model, on_progress)), name=model)
    else:
        facts = model if isinstance(model, ModelFacts) else model_facts(model)
    module, name = FAMILIES[facts.family]
    try:
        parts = settle(load_parts(facts, dtype), MODELS[facts.family].denoiser, device, quantization, streamed_blocks)
        tokenizers, schedule = load_tokenizers(facts, parts), load_schedule(facts)
        return getattr(import_module(module), name)(facts, parts, tokenizers, schedule, device, dtype)
    except ModelError as error:
        error.values.setdefault("field", "model.path")
        raise
