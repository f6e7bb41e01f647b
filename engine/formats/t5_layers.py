"""The layers of a T5 encoder that adapters may change, told by their names: 168 in T5-XXL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer
from engine.formats.layer_patterns import LayerPattern, layers_like

_ATTENTION, _FEED_FORWARD = r"encoder\.block\.\d+\.layer\.0\.SelfAttention", r"encoder\.block\.\d+\.layer\.1\.DenseReluDense"
_PATTERNS = (
    LayerPattern("attention", rf"({_ATTENTION})\.[qkv]", "outputs", r"\1"),
    LayerPattern("attention", rf"{_ATTENTION}\.o", "inputs"),
    # the gate and what it gates read the same, the way out reads their product
    LayerPattern("mlp", rf"({_FEED_FORWARD})\.wi_[01]", reads=r"\1"),
    LayerPattern("mlp", rf"{_FEED_FORWARD}\.wo"),
)


def t5_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        paths: of modules that have weights, as transformers names them.
        config: the encoder's, which knows the number of attention heads.
    """
    return layers_like(_PATTERNS, paths, config["num_heads"], "train_t5")
