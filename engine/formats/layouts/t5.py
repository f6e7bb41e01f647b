"""Where single files have a T5 encoder: under transformers' own names.

The embedding of tokens is one tensor with two names. Published files have both, and diffusers needs both of a file; others have
either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.config.layers import Size
from engine.formats.checkpoint_shapes import indices
from engine.formats.layouts.table import Line, Table

_ATTENTION = "encoder.block.{}.layer.0.SelfAttention"
_SAME = (
    *(f"{_ATTENTION}.{part}" for part in ("q", "k", "v", "o", "relative_attention_bias")),
    *(f"encoder.block.{{}}.layer.1.DenseReluDense.{part}" for part in ("wi_0", "wi_1", "wo")),
    "encoder.block.{}.layer.{}.layer_norm",
    "encoder.final_layer_norm",
)

T5 = Table(
    (
        # The first two say where the embedding is written, the others where else it is found.
        Line("shared", "shared"),
        Line("encoder.embed_tokens", "encoder.embed_tokens"),
        Line("shared", "encoder.embed_tokens"),
        Line("encoder.embed_tokens", "shared"),
        *(Line(path, path) for path in _SAME),
    )
)
"""The `KeyMap`."""


def t5_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of a T5Config.

    Raises:
        KeyError: no T5 encoder.
    """
    attention, feed_forward = (f"encoder.block.0.layer.{part}" for part in ("0.SelfAttention", "1.DenseReluDense"))
    vocabulary, width = shapes.get("shared.weight") or shapes["encoder.embed_tokens.weight"]
    buckets, heads = shapes[f"{attention}.relative_attention_bias.weight"]
    return {
        "vocab_size": vocabulary,
        "d_model": width,
        "d_kv": shapes[f"{attention}.q.weight"][0] // heads,
        "d_ff": shapes[f"{feed_forward}.wi_0.weight"][0],
        "num_heads": heads,
        "num_layers": len(indices(shapes, r"encoder\.block\.(\d+)\.")),
        "relative_attention_num_buckets": buckets,
    }
