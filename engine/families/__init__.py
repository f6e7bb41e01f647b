"""Base-model families, one file each. `FAMILIES` is the one place that lists them; classes are imported when first needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from engine.families.base import Family
from engine.families.hub import download
from engine.library import ModelFacts, model_facts

if TYPE_CHECKING:
    from collections.abc import Callable

FAMILIES: dict[str, tuple[str, str]] = {"sd1": ("engine.families.sd", "StableDiffusion")}
"""Family as `engine.formats.kinds.recognise` names it -> (module, class)."""


def load_model(
    location: Path | str, device: torch.device, dtype: torch.dtype, on_progress: Callable[[int, int], None] | None = None
) -> Family:
    """Load a base model; its family is told from the files.

    Args:
        location: what `engine.library.find_model` gave: a folder, a file, or a Hugging Face id, which is downloaded first.
        on_progress: bytes done and in all while downloading.

    Raises:
        ModelError: missing, damaged, an adapter, or of another family.
    """
    facts: ModelFacts = model_facts(location if isinstance(location, Path) else download(location, on_progress))
    module, name = FAMILIES[facts.family]
    return getattr(import_module(module), name).load(facts, device, dtype)
