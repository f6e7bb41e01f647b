"""Telling the layers of a network by their paths: a table of patterns, the first that fits counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from engine.config.layers import HeadAxis
from engine.config.targets import Group, Layer


@dataclass(frozen=True)
class LayerPattern:
    """Attributes:
    path: of the whole layer.
    head_axis: which side of it attention heads share, if they do.
    reads: what it shares its input with, as a template of the match: layers with the same words read the same.
    """

    group: Group
    path: str
    head_axis: HeadAxis | None = None
    reads: str = ""


def layers_like(
    patterns: Sequence[LayerPattern],
    paths: Iterable[str],
    heads: int,
    switch: Literal["train_unet", "train_text_encoder", "train_t5"] = "train_unet",
) -> list[Layer]:
    """The layers among these module paths, in their order."""
    compiled = [(pattern, re.compile(pattern.path)) for pattern in patterns]
    found = []
    for path in paths:
        for pattern, expression in compiled:
            if named := expression.fullmatch(path):
                axis, reads = pattern.head_axis, named.expand(pattern.reads)
                found.append(Layer(path, pattern.group, heads if axis else 1, axis or "outputs", reads, switch))
                break
    return found
