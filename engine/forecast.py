"""How much a run trains and how large its file becomes, from the headers of the base model. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from engine.config.adapter import LayerOptions
from engine.config.layers import LayerShape
from engine.config.sizes import thin_rank
from engine.config.targets import Target, choose, does_not_fit
from engine.config.tensors import AdapterTensors, adapter_tensors
from engine.errors import ConfigError, EngineError
from engine.formats.fused import assembled, fuse_sizes
from engine.formats.model_layers import ModelLayers, model_layers
from engine.formats.names import DiskName, disk_names
from engine.library import downloaded
from engine.model_facts import ModelFacts, bad_folder, model_facts

WIDTHS = {"float16": 2, "bfloat16": 2, "float32": 4}
"""`output.precision` -> bytes of a number."""
THIN = ("lora", "dylora", "adalora", "ard_lora", "tlora", "vera", "delora")
"""Algorithms whose change is a product of two thin factors."""
METADATA = 4500
"""Bytes that the metadata of a run usually take, more for many pictures."""


@dataclass(frozen=True)
class Trained:
    """Attributes:
    modules, parameters: component -> how many layers and how many numbers learn.
    file_size: bytes of a saved version, as good as exact; for AdaLoRA and ARD-LoRA, which cut layers to the ranks they need, about.
    ranks: component -> path of each layer -> rank of its adapter; 0 for one that is no product of two thin factors.
    """

    modules: dict[str, int]
    parameters: dict[str, int]
    file_size: int
    ranks: dict[str, dict[str, int]] = field(default_factory=dict)


def forecast(options: LayerOptions, precision: str, facts: ModelFacts) -> Trained | None:
    """What a run with these adapter options trains; None for a Hugging Face id that is not downloaded yet, or a pickle that is not converted.

    Args:
        precision: of the file, a key of WIDTHS.

    Raises:
        ConfigError: `config.rule`; `config.layer` where the options do not fit a layer; `config.no_layers`.
        ModelError: a header is damaged.
    """
    if not facts.family:
        folder = downloaded(facts.location) if isinstance(facts.location, str) else None
        if folder is None:
            return None
        facts = model_facts(folder)
    model = _layers(facts)
    chosen = choose(model.layers, options)
    made = {component: _tensors(targets, model.shapes[component]) for component, targets in chosen.items() if targets}
    if not made:
        raise ConfigError(
            "config.no_layers", "No layer is left to train.", "At least one.", "Change which layers learn, or the rules.",
            field="adapter.targets",
        )  # fmt: skip
    return Trained(
        modules={component: len(tensors) for component, tensors in made.items()},
        parameters={component: sum(each.parameters for each in tensors.values()) for component, tensors in made.items()},
        file_size=METADATA
        + sum(
            _bytes(tensors, disk_names(model.family, component, model.shapes[component]), WIDTHS[precision])
            for component, tensors in made.items()
        ),
        ranks={
            component: {target.layer.path: _rank(target, model.shapes[component]) for target in targets}
            for component, targets in chosen.items()
            if targets
        },
    )


def _rank(target: Target, shapes: Mapping[str, LayerShape]) -> int:
    return thin_rank(shapes[target.layer.path], target.options)[0] if target.options.kind in THIN else 0


def _layers(facts: ModelFacts) -> ModelLayers:
    try:
        return model_layers(facts)
    except EngineError as error:
        error.values.setdefault("field", "model.path")
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise bad_folder(Path(facts.location), error) from None


def _tensors(targets: Sequence[Target], shapes: Mapping[str, LayerShape]) -> dict[str, AdapterTensors]:
    """Path -> its adapter. Many layers are alike, so that each kind is looked at once."""
    seen: dict[tuple[LayerShape, int], AdapterTensors] = {}
    found = {}
    for target in targets:
        path, shape = target.layer.path, shapes[target.layer.path]
        key = shape, id(target.options)
        try:
            found[path] = seen[key] = seen[key] if key in seen else adapter_tensors(shape, target.options)
        except ValueError as error:
            raise does_not_fit(path, str(error)) from None
    return found


def _bytes(adapters: Mapping[str, AdapterTensors], names: Mapping[str, DiskName], width: int) -> int:
    """Bytes of the tensors and their entries in the header; alpha is always written in float32."""
    position, header = 0, 0
    for name, sizes in assembled(((names[path], each.written) for path, each in adapters.items()), fuse_sizes).items():
        for suffix, size in sizes.items():
            start, position = position, position + prod(size) * (4 if suffix == "alpha" else width)
            entry = {"dtype": "F32", "shape": size, "data_offsets": [start, position]}
            header += len(json.dumps({f"{name}.{suffix}": entry}, separators=(",", ":")))
    return position + header
