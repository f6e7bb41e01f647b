"""The layers of Z-Image's transformer that adapters may change, told by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer
from engine.formats.layer_patterns import LayerPattern, layers_like
from engine.formats.layouts.z_image import BLOCKS, PATCH

_BLOCK = rf"(?:{'|'.join(BLOCKS)})\.\d+"
_PATTERNS = (
    LayerPattern("attention", rf"({_BLOCK}\.attention)\.to_[qkv]", "outputs", r"\1"),
    LayerPattern("attention", rf"{_BLOCK}\.attention\.to_out\.0", "inputs"),
    # the gate and what it gates read the same, the way out reads their product
    LayerPattern("mlp", rf"({_BLOCK}\.feed_forward)\.w[13]", reads=r"\1"),
    LayerPattern("mlp", rf"{_BLOCK}\.feed_forward\.w2"),
    LayerPattern("other", rf"{_BLOCK}\.adaLN_modulation\.0|t_embedder\.mlp\.[02]|cap_embedder\.1|all_x_embedder\.{PATCH}"),
    LayerPattern("other", rf"all_final_layer\.{PATCH}\.(linear|adaLN_modulation\.1)"),
)


def z_image_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order: 136 of attention, 102 of feed-forward at the published size.

    Args:
        paths: of modules that have weights, as diffusers names them.
        config: the transformer's, which knows the number of attention heads.
    """
    return layers_like(_PATTERNS, paths, config["n_heads"])
