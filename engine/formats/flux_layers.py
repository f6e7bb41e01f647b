"""The layers of FLUX.1's transformer that adapters may change, told by their names.

Kohya's trainer takes attention, feed-forward and modulation of every block: 494 layers here, 304 in an adapter file, where q, k
and v are one. So modulation counts as "mlp"; so does the way out of a single block, which attention and feed-forward share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer
from engine.formats.layer_patterns import LayerPattern, layers_like

_DOUBLE, _SINGLE = r"transformer_blocks\.\d+", r"single_transformer_blocks\.\d+"
_PATTERNS = (
    # the picture's projections read the picture, those that were added read the text
    LayerPattern("attention", rf"((?:{_DOUBLE}|{_SINGLE})\.attn\.(?:to|add))_[qkv](?:_proj)?", "outputs", r"\1"),
    LayerPattern("attention", rf"{_DOUBLE}\.attn\.to_(out\.0|add_out)", "inputs"),
    LayerPattern("mlp", rf"({_SINGLE})\.proj_mlp", reads=r"\1.attn.to"),
    LayerPattern("mlp", rf"{_DOUBLE}\.(ff(_context)?\.net\.(0\.proj|2)|norm1(_context)?\.linear)"),
    LayerPattern("mlp", rf"{_SINGLE}\.(proj_out|norm\.linear)"),
    LayerPattern("other", r"x_embedder|context_embedder|norm_out\.linear|proj_out"),
    LayerPattern("other", r"time_text_embed\.(timestep|guidance|text)_embedder\.linear_[12]"),
)


def flux_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        paths: of modules that have weights, as diffusers names them.
        config: the transformer's, which knows the number of attention heads.
    """
    return layers_like(_PATTERNS, paths, config["num_attention_heads"])
