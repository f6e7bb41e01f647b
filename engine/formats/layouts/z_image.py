"""The transformer of Z-Image in its authors' layout, the one ComfyUI reads.

One stream of blocks: two refiners for the picture alone (`noise_refiner`), two for the text alone (`context_refiner`, without
modulation), then the `layers` that both go through together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.config.layers import Size
from engine.formats.layouts.table import Line, Table

BLOCKS = ("layers", "noise_refiner", "context_refiner")
PATCH = "2-1"
"""diffusers keeps the way in and out for each size of patch: 2x2 pixels of one picture here."""
_SAME = (
    "feed_forward.w1", "feed_forward.w2", "feed_forward.w3", "adaLN_modulation.0",
    "attention_norm1", "attention_norm2", "ffn_norm1", "ffn_norm2",
)  # fmt: skip


def _block(name: str) -> list[Line]:
    block = f"{name}.{{}}"
    attention = f"{block}.attention"
    return [
        *(Line(f"{attention}.to_{part}", f"{attention}.qkv", share=(row, row + 1, 3)) for row, part in enumerate("qkv")),
        Line(f"{attention}.to_out.0", f"{attention}.out"),
        Line(f"{attention}.norm_q", f"{attention}.q_norm"),
        Line(f"{attention}.norm_k", f"{attention}.k_norm"),
        *(Line(f"{block}.{module}", f"{block}.{module}") for module in _SAME),
    ]


Z_IMAGE = Table(
    [
        Line("t_embedder.mlp.{}", "t_embedder.mlp.{}"),
        Line("cap_embedder.{}", "cap_embedder.{}"),
        Line(f"all_x_embedder.{PATCH}", "x_embedder"),
        Line("x_pad_token", "x_pad_token"),
        Line("cap_pad_token", "cap_pad_token"),
        *(line for name in BLOCKS for line in _block(name)),
        Line(f"all_final_layer.{PATCH}.linear", "final_layer.linear"),
        Line(f"all_final_layer.{PATCH}.adaLN_modulation.{{}}", "final_layer.adaLN_modulation.{}"),
    ]
)
"""The `KeyMap`."""


def z_image_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of a ZImageTransformer2DModel's config.

    Positions have three axes, time, height and width; they share a head's width as in the published models, 2 : 3 : 3.

    Raises:
        KeyError: no transformer of Z-Image.
    """
    dim, patch = shapes["x_embedder.weight"]
    head = shapes["layers.0.attention.q_norm.weight"][0]
    return {
        "dim": dim,
        "in_channels": patch // 4,
        "n_layers": _count(shapes, "layers"),
        "n_refiner_layers": _count(shapes, "noise_refiner"),
        "n_heads": dim // head,
        "n_kv_heads": dim // head,
        "cap_feat_dim": shapes["cap_embedder.1.weight"][1],
        "axes_dims": [head // 4, 3 * head // 8, 3 * head // 8],
    }


def _count(shapes: Mapping[str, Size], blocks: str) -> int:
    return 1 + max(int(found[1]) for key in shapes if (found := re.match(rf"{blocks}\.(\d+)\.", key)))
