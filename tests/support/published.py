"""The published models at their real sizes, without their weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from engine.families.base import config_of
from engine.families.parts import build_empty
from engine.formats.models import MODELS
from engine.formats.models.base import CONFIGS


def published(family: str, configs: str) -> dict[str, nn.Module]:
    """Those parts of a model that adapters may change, on the meta device.

    Args:
        configs: folder below `engine.formats.models.base.CONFIGS`.
    """
    found = {}
    for name in MODELS[family].trained:
        config = json.loads((CONFIGS / configs / name / "config.json").read_text(encoding="utf-8"))
        found[name] = build_empty(MODELS[family].parts[name].kind, config)
    return found


def header_file(path: Path, family: str, parts: Mapping[str, nn.Module]) -> Path:
    """The header of a single file with these parts, and a hole where their weights would be."""
    sizes: dict[str, list[int]] = {}
    for name, network in parts.items():
        part, state = MODELS[family].parts[name], network.state_dict()
        for key, place in part.keys.places(state, config_of(network)).items():
            size = list(state[key].shape)
            if place.share:
                start, stop, of = place.share
                size[0] = size[0] * of // (stop - start)
            sizes[part.prefixes[0] + place.key] = size[::-1] if place.change == "transposed" else size
    header, position = {}, 0
    for key, size in sizes.items():
        end = position + math.prod(size)
        header[key] = {"dtype": "F8_E4M3", "shape": size, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + position)
    return path
