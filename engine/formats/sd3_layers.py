"""The layers of Stable Diffusion 3's transformer that adapters may change, told by their names.

Kohya's trainer takes attention, feed-forward and modulation of both streams of every block: 333 layers in SD3 medium, 237 in an
adapter file, where q, k and v are one. So modulation counts as "mlp".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer
from engine.formats.layer_patterns import LayerPattern, layers_like

_BLOCK = r"transformer_blocks\.\d+"
_PATTERNS = (
    # the picture's projections read the picture, those that were added read the text
    LayerPattern("attention", rf"({_BLOCK}\.attn2?\.(?:to|add))_[qkv](?:_proj)?", "outputs", r"\1"),
    LayerPattern("attention", rf"{_BLOCK}\.attn2?\.to_(out\.0|add_out)", "inputs"),
    LayerPattern("mlp", rf"{_BLOCK}\.(ff(_context)?\.net\.(0\.proj|2)|norm1(_context)?\.linear)"),
    LayerPattern("other", r"pos_embed\.proj|context_embedder|norm_out\.linear|proj_out"),
    LayerPattern("other", r"time_text_embed\.(timestep|text)_embedder\.linear_[12]"),
)


def sd3_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        paths: of modules that have weights, as diffusers names them.
        config: the transformer's, which knows the number of attention heads.
    """
    return layers_like(_PATTERNS, paths, config["num_attention_heads"])
