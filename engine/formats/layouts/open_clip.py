"""OpenCLIP's text encoder as single files have it (Stable Diffusion 2.x, SDXL's second), beside transformers' CLIPTextModel.

q, k and v are one matrix, the embedding of positions and the projection are bare parameters, and the projection is transposed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.layers import Size
from engine.formats.layouts.stored import Place
from engine.formats.layouts.table import Line, Table

HEAD_WIDTH = 64
"""Every CLIP text encoder has heads of this width; a narrower one has a single head."""
_BLOCK = "transformer.resblocks.{}"
_NAMES = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


class OpenClip(Table):
    """A `KeyMap`; blocks of the file that the network does not have are left out.

    Args:
        level: of the module paths: "text_model." for a CLIPTextModelWithProjection, "" for a CLIPTextModel.
    """

    def __init__(self, level: str = "") -> None:
        layer = f"{level}encoder.layers.{{}}"
        fused = [
            Line(f"{layer}.self_attn.{name}_proj.{leaf}", f"{_BLOCK}.attn.in_proj_{leaf}", (index, index + 1, 3))
            for index, name in enumerate("qkv")
            for leaf in ("weight", "bias")
        ]
        super().__init__([
            Line(f"{level}embeddings.token_embedding", "token_embedding"),
            Line(f"{level}embeddings.position_embedding.weight", "positional_embedding"),
            *fused,
            *(Line(f"{layer}.{own}", f"{_BLOCK}.{file}") for own, file in _NAMES.items()),
            Line(f"{level}final_layer_norm", "ln_final"),
            Line("text_projection.weight", "text_projection", change="transposed"),
        ])  # fmt: skip

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        found = super().find(stored, config)
        return {key: place for key, place in found.items() if _block(place.key) < config["num_hidden_layers"]}


def open_clip_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of a CLIPTextConfig.

    Raises:
        KeyError: no OpenCLIP text encoder.
    """
    vocabulary, width = shapes["token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": shapes.get("text_projection", (width, width))[1],
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "intermediate_size": shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        "num_hidden_layers": 1 + max(_block(key) for key in shapes),
        "max_position_embeddings": shapes["positional_embedding"][0],
    }


def _block(key: str) -> int:
    named = re.match(r"transformer\.resblocks\.(\d+)\.", key)
    return int(named[1]) if named else -1
