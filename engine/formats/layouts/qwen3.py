"""Qwen3 as the text encoder of a picture model, under transformers' own names: single files have them too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.config.layers import Size
from engine.formats.layouts.table import Line, Table

_LAYER = (
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "self_attn.q_norm", "self_attn.k_norm",
    "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm",
)  # fmt: skip

QWEN3 = Table(Line(path, path) for path in ("embed_tokens", "norm", *(f"layers.{{}}.{module}" for module in _LAYER)))
"""The `KeyMap`."""


def qwen3_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of a Qwen3Config.

    Raises:
        KeyError: no Qwen3.
    """
    vocabulary, width = shapes["embed_tokens.weight"]
    head = shapes["layers.0.self_attn.q_norm.weight"][0]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes["layers.0.mlp.gate_proj.weight"][0],
        "num_hidden_layers": 1 + max(int(found[1]) for key in shapes if (found := re.match(r"layers\.(\d+)\.", key))),
        "head_dim": head,
        "num_attention_heads": shapes["layers.0.self_attn.q_proj.weight"][0] // head,
        "num_key_value_heads": shapes["layers.0.self_attn.k_proj.weight"][0] // head,
    }
