"""The layers of a T5 encoder that adapters may change, told by their names: 168 in T5-XXL."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Layer

_ATTENTION = re.compile(r"(?P<attention>encoder\.block\.\d+\.layer\.0\.SelfAttention)\.(?P<what>[qkvo])")
_FEED_FORWARD = re.compile(r"(?P<mlp>encoder\.block\.\d+\.layer\.1\.DenseReluDense)\.(?P<what>wi_[01]|wo)")


def t5_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order.

    Args:
        paths: of modules that have weights, as transformers names them.
        config: the encoder's, which knows the number of attention heads.
    """
    return [layer for path in paths if (layer := _layer(path, config["num_heads"]))]


def _layer(path: str, heads: int) -> Layer | None:
    if named := _ATTENTION.fullmatch(path):
        if named["what"] == "o":
            return Layer(path, "attention", heads, "inputs", switch="train_t5")
        return Layer(path, "attention", heads, "outputs", named["attention"], "train_t5")
    if named := _FEED_FORWARD.fullmatch(path):
        # the gate and what it gates read the same, the way out reads their product
        return Layer(path, "mlp", shared_input="" if named["what"] == "wo" else named["mlp"], switch="train_t5")
    return None
