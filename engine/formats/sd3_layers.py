"""The layers of Stable Diffusion 3's transformer that adapters may change, told by their names.

Kohya's trainer takes attention, feed-forward and modulation of both streams of every block: 333 layers in SD3 medium, 237 in an
adapter file, where q, k and v are one. So modulation counts as "mlp".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer

_BLOCK = r"transformer_blocks\.\d+"
_PROJECTION = re.compile(rf"(?P<attention>{_BLOCK}\.attn2?)\.(?P<stream>to|add)_[qkv](_proj)?")
_OUT = re.compile(rf"{_BLOCK}\.attn2?\.to_(out\.0|add_out)")
_MLP = re.compile(rf"{_BLOCK}\.(ff(_context)?\.net\.(0\.proj|2)|norm1(_context)?\.linear)")
_OTHER = re.compile(
    r"pos_embed\.proj|context_embedder|time_text_embed\.(timestep|text)_embedder\.linear_[12]|norm_out\.linear|proj_out"
)


def sd3_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        paths: of modules that have weights, as diffusers names them.
        config: the transformer's, which knows the number of attention heads.
    """
    return [layer for path in paths if (layer := _layer(path, config["num_attention_heads"]))]


def _layer(path: str, heads: int) -> Layer | None:
    if named := _PROJECTION.fullmatch(path):
        # the picture's projections read the picture, those that were added read the text
        return Layer(path, "attention", heads, "outputs", f"{named['attention']}.{named['stream']}")
    if _OUT.fullmatch(path):
        return Layer(path, "attention", heads, "inputs")
    if _MLP.fullmatch(path):
        return Layer(path, "mlp")
    return Layer(path, "other") if _OTHER.fullmatch(path) else None
