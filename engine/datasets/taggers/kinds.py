"""Which kind of tagger a folder or a repository holds, from its file names and its config.json. Reads no file and loads nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from engine.errors import ModelError

MODEL, TABLE = "model.onnx", "selected_tags.csv"
"""What a tagger of WD14's form consists of."""
CONFIG = "config.json"
MODEL_TYPES = {
    "blip": ("blip",),
    "blip2": ("blip-2",),
    "florence2": ("florence2",),
    "qwen_vl": ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"),
}
"""Kind -> what `model_type` says in the config.json of its models."""
CODE = "auto_map"
"""A name in the settings of a model that says which program code of its own belongs to it."""
CONVERTED = {"florence2": "florence-community/Florence-2-base"}
"""Kind whose first models came with program code -> one that transformers reads by itself."""


def kind_of(name: str, files: Collection[str], config: Mapping[str, Any]) -> str:
    """The kind of tagger, a key of `engine.config.caption.TAGGERS`; "" for what is none that is known here.

    Args:
        name: for the error.
        config: of config.json, {} where there is none.

    Raises:
        ModelError: `tagger.remote_code`.
    """
    if {MODEL, TABLE} <= set(files):
        return "wd14"
    told = config.get("model_type")
    kind = next((kind for kind, types in MODEL_TYPES.items() if told in types), "")
    if kind and CODE in config:
        raise remote_code(name, kind)
    return kind


def remote_code(name: str, kind: str) -> ModelError:
    instead = CONVERTED.get(kind, "")
    return ModelError(
        "tagger.remote_code", f"{name} needs program code of its own, which is never run here.",
        "A model that transformers reads by itself.", f"Choose a converted copy, for example {instead}." if instead else "Choose another one.",
        name=name, instead=instead or "–", field="tagger.model",
    )  # fmt: skip


def unusable(name: str, reason: str) -> ModelError:
    """The error for a folder that does not hold what it should."""
    return ModelError(
        "tagger.unusable", f"{name} cannot be used as a tagger: {reason}.", "The whole folder of a tagger of this kind.",
        "Choose another one, or fetch it again.", name=name, reason=reason, field="tagger.model",
    )  # fmt: skip
