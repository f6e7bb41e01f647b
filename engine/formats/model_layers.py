"""The layers of a base model that adapters may change, with their sizes, from the headers of its files. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.config.layers import LayerShape, Size
from engine.config.targets import Layer
from engine.formats.models import MODELS
from engine.formats.models.base import Part, PartSource
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import layer_sizes, part_config
from engine.model_facts import ModelFacts


@dataclass(frozen=True)
class ModelLayers:
    """Attributes:
    family: of the model.
    layers: component -> its layers, as a loaded model's family would list them, but in the order of the file.
    shapes: component -> path of each layer -> its size.
    """

    family: str
    layers: dict[str, list[Layer]]
    shapes: dict[str, dict[str, LayerShape]]


def model_layers(facts: ModelFacts) -> ModelLayers:
    """The layers of a model. Not to be changed: it is kept for next time.

    Raises:
        ModelError: codes `file.*`, `model.bad_shape`.
        OSError, ValueError: a config of a folder cannot be read.
    """
    sources = tuple((name, facts.sources[name]) for name in MODELS[facts.family].trained if name in facts.sources)
    files = [file for _, source in sources for file in _files(source)]
    stamps = tuple((file, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()])
    return _read(facts.family, MODELS[facts.family].variants[facts.variant].configs, sources, stamps)


def _files(source: PartSource) -> list[Path]:
    """The file; or the config and the weights of a folder, which may lie in several files."""
    folder = source.path
    return [folder / "config.json", *sorted(folder.glob("*.safetensors"))] if folder.is_dir() else [folder]


@lru_cache(maxsize=64)
def _read(
    family: str, configs: str, sources: tuple[tuple[str, PartSource], ...], stamps: tuple[tuple[Path, int, int], ...]
) -> ModelLayers:
    layers, sizes = {}, {}
    for name, source in sources:
        part = source.form(MODELS[family].parts[name])
        weights, config = (
            _from_folder(part, source) if source.path.is_dir() else _from_file(name, part, configs, source)
        )  # fmt: skip
        shapes = _shapes(weights)
        assert part.layers
        layers[name] = part.layers(shapes, config)
        sizes[name] = {
            layer.path: replace(shapes[layer.path], heads=layer.heads, head_axis=layer.head_axis) for layer in layers[name]
        }
    return ModelLayers(family, layers, sizes)


def _from_file(name: str, part: Part, configs: str, source: PartSource) -> tuple[dict[str, Size], dict[str, Any]]:
    header = read_header(source.path)
    config = part_config(source.path, name, part, configs, header, source.prefix)
    return layer_sizes(part, header, source.prefix, config), config


def _from_folder(part: Part, source: PartSource) -> tuple[dict[str, Size], dict[str, Any]]:
    """Older files have CLIP's `text_model` level, which transformers 5 dropped."""
    config, *files = _files(source)
    dropped = "text_model." if part.kind == "clip" else ""
    weights = {name.removeprefix(dropped): info.shape for file in files for name, info in read_header(file).tensors.items()}
    return weights, json.loads(config.read_text(encoding="utf-8"))


def _shapes(weights: Mapping[str, Size]) -> dict[str, LayerShape]:
    """Module path -> size, of every module whose weight an adapter could change."""
    return {
        path: LayerShape.of_weight(size, f"{path}.bias" in weights)
        for name, size in weights.items()
        for path, _, leaf in [name.rpartition(".")]
        if leaf == "weight" and len(size) in (1, 2, 4)
    }
