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
from engine.formats.checkpoint_shapes import component_shapes
from engine.formats.ldm_names import unet_from_ldm
from engine.formats.safetensors_header import read_header
from engine.formats.sd_layers import sd_layers
from engine.formats.single_file import SD1_CONFIGS, component_configs

COMPONENTS = ("text_encoder", "unet")


@dataclass(frozen=True)
class ModelLayers:
    """Attributes:
    layers: component -> its layers, as a loaded model's family would list them, but in the order of the file.
    shapes: component -> path of each layer -> its size.
    """

    layers: dict[str, list[Layer]]
    shapes: dict[str, dict[str, LayerShape]]


def model_layers(location: Path) -> ModelLayers:
    """The layers of a diffusers folder or a single file of Stable Diffusion 1.x. Not to be changed: it is kept for next time.

    Raises:
        ModelError: codes `file.*`, `model.bad_shape`.
        OSError, ValueError: a config of the folder cannot be read.
    """
    files = [location] if location.is_file() else [file for part in COMPONENTS for file in _parts(location / part)]
    return _read(location, tuple((file, status.st_size, status.st_mtime_ns) for file in files for status in [file.stat()]))


def _parts(folder: Path) -> list[Path]:
    """The config and the weights, which may lie in several files."""
    return [folder / "config.json", *sorted(folder.glob("*.safetensors"))]


@lru_cache(maxsize=64)
def _read(location: Path, stamps: tuple[tuple[Path, int, int], ...]) -> ModelLayers:
    if location.is_file():
        weights, configs = _from_file(location)
    else:
        weights = {part: _folder_weights(location / part) for part in COMPONENTS}
        configs = {part: json.loads((location / part / "config.json").read_text(encoding="utf-8")) for part in COMPONENTS}
    shapes = {part: _shapes(weights[part]) for part in COMPONENTS}
    layers = {part: sd_layers(part, shapes[part], configs[part]) for part in COMPONENTS}
    sizes = {
        part: {layer.path: replace(shapes[part][layer.path], heads=layer.heads, head_axis=layer.head_axis) for layer in listed}
        for part, listed in layers.items()
    }
    return ModelLayers(layers, sizes)


def _from_file(file: Path) -> tuple[dict[str, dict[str, Size]], dict[str, dict[str, Any]]]:
    header = read_header(file)
    configs = component_configs(file, SD1_CONFIGS, header)
    written = component_shapes(header, "unet")
    split = {key: key.rpartition(".") for key in written}
    names = unet_from_ldm({module for module, _, _ in split.values()}, configs["unet"]["layers_per_block"])
    unet = {f"{names[module]}.{leaf}": written[key] for key, (module, _, leaf) in split.items() if module in names}
    return {"text_encoder": component_shapes(header, "text_encoder"), "unet": unet}, configs


def _folder_weights(folder: Path) -> dict[str, Size]:
    """Tensor name -> size. Older files have the text encoder's `text_model` level, which transformers 5 dropped."""
    return {
        name.removeprefix("text_model."): info.shape
        for file in _parts(folder)[1:]
        for name, info in read_header(file).tensors.items()
    }


def _shapes(weights: Mapping[str, Size]) -> dict[str, LayerShape]:
    """Module path -> size, of every module whose weight an adapter could change."""
    return {
        path: LayerShape.of_weight(size, f"{path}.bias" in weights)
        for name, size in weights.items()
        for path, _, leaf in [name.rpartition(".")]
        if leaf == "weight" and len(size) in (1, 2, 4)
    }
