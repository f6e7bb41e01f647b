"""The layers of FLUX.1's transformer that adapters may change, told by their names.

Kohya's trainer takes attention, feed-forward and modulation of every block: 494 layers here, 304 in an adapter file, where q, k
and v are one. So modulation counts as "mlp"; so does the way out of a single block, which attention and feed-forward share.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer

_DOUBLE, _SINGLE = r"transformer_blocks\.\d+", r"single_transformer_blocks\.\d+"
_PROJECTION = re.compile(rf"(?P<attention>({_DOUBLE}|{_SINGLE})\.attn)\.(?P<stream>to|add)_[qkv](_proj)?")
_OUT = re.compile(rf"{_DOUBLE}\.attn\.to_(out\.0|add_out)")
_SINGLE_MLP = re.compile(rf"(?P<block>{_SINGLE})\.proj_mlp")
_MLP = re.compile(rf"{_DOUBLE}\.(ff(_context)?\.net\.(0\.proj|2)|norm1(_context)?\.linear)|{_SINGLE}\.(proj_out|norm\.linear)")
_OTHER = re.compile(
    r"x_embedder|context_embedder|norm_out\.linear|proj_out|time_text_embed\.(timestep|guidance|text)_embedder\.linear_[12]"
)


def flux_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
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
    if named := _SINGLE_MLP.fullmatch(path):
        return Layer(path, "mlp", shared_input=f"{named['block']}.attn.to")  # reads what q, k and v read
    if _MLP.fullmatch(path):
        return Layer(path, "mlp")
    return Layer(path, "other") if _OTHER.fullmatch(path) else None
