"""The kinds of taggers, each a file beside this one. What a file needs is imported when a tagger of its kind is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from engine.datasets.taggers.base import TaggerModule

MODULES = {
    "wd14": "engine.datasets.taggers.wd14",
    "blip": "engine.datasets.taggers.blip",
    "blip2": "engine.datasets.taggers.blip2",
    "florence2": "engine.datasets.taggers.florence2",
    "qwen_vl": "engine.datasets.taggers.qwen_vl",
}
"""Kind, as in `engine.config.caption` -> module."""
MODEL_TYPES = {
    "blip": ("blip",),
    "blip2": ("blip-2",),
    "florence2": ("florence2",),
    "qwen_vl": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"),
}
"""Kind -> what `model_type` says in the config.json of its models."""
CONVERTED = {"florence2": "florence-community/Florence-2-base"}
"""Kind whose first models came with program code -> one that transformers reads by itself."""


def tagger_module(kind: str) -> TaggerModule:
    return cast(TaggerModule, importlib.import_module(MODULES[kind]))


def kind_of(model_type: str) -> str:
    """The kind of a model by its `model_type`; "" for one that is not known here."""
    return next((kind for kind, types in MODEL_TYPES.items() if model_type in types), "")
