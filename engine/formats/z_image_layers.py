"""The layers of Z-Image's transformer that adapters may change, told by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from engine.config.targets import Group, Layer
from engine.formats.layouts.z_image import BLOCKS, PATCH

_BLOCK = rf"({'|'.join(BLOCKS)})\.\d+"
_PATTERNS: tuple[tuple[Group, re.Pattern[str]], ...] = (
    ("attention", re.compile(rf"(?P<attention>{_BLOCK}\.attention)\.to_(?P<what>q|k|v|out\.0)")),
    ("mlp", re.compile(rf"(?P<mlp>{_BLOCK}\.feed_forward)\.w(?P<what>[123])")),
    ("other", re.compile(rf"{_BLOCK}\.adaLN_modulation\.0|t_embedder\.mlp\.[02]|cap_embedder\.1|all_x_embedder\.{PATCH}")),
    ("other", re.compile(rf"all_final_layer\.{PATCH}\.(linear|adaLN_modulation\.1)")),
)


def z_image_layers(paths: Iterable[str], config: Mapping[str, Any]) -> list[Layer]:
    """The layers among these module paths, in their order: 136 of attention, 102 of feed-forward at the published size.

    Args:
        paths: of modules that have weights, as diffusers names them.
        config: the transformer's, which knows the number of attention heads.
    """
    return [layer for path in paths if (layer := _layer(path, config["n_heads"]))]


def _layer(path: str, heads: int) -> Layer | None:
    for group, pattern in _PATTERNS:
        if named := pattern.fullmatch(path):
            if group == "other":
                return Layer(path, group)
            if named["what"] == "out.0":
                return Layer(path, group, heads, "inputs")
            if group == "attention":
                return Layer(path, group, heads, "outputs", named["attention"])
            # the gate and what it gates read the same, the way out reads their product
            return Layer(path, group, shared_input="" if named["what"] == "2" else named["mlp"])
    return None
