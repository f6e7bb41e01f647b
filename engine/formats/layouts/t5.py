"""Where single files have a T5 encoder: under transformers' own names.

The embedding of tokens is one tensor with two names, of which a file has either or both.
"""

from __future__ import annotations

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
        Line("encoder.embed_tokens", "shared"),
        Line("shared", "encoder.embed_tokens"),
        Line("encoder.embed_tokens", "encoder.embed_tokens"),
        *(Line(path, path) for path in _SAME),
    )
)
