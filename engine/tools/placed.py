"""The changes that an adapter file makes, layer by layer, under the names Kohya's trainer would write.

With a base model every algorithm can be read. Without one only plain LoRA and whole differences can: the others need the size
or the weights of the layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import Base
from engine.adapters.network import Network, read_module
from engine.errors import AdapterError
from engine.formats.adapter_file import AdapterFile
from engine.formats.kohya_tensors import kohya_names, taken_apart
from engine.formats.names import DiskName
from engine.formats.suffixes import algorithm_of
from engine.formats.summary import family_of
from engine.tools.change import Change, change_of
from engine.tools.checkpoint import Checkpoint

ALONE = ("lora", "full", "norm")
"""Algorithms whose tensors say everything."""


def layer_by_layer(file: AdapterFile) -> AdapterFile:
    """The file with each layer by itself where that changes nothing: ranks are counted per layer."""
    modules = {name: dict(parts) for name, parts in taken_apart(file.modules, family_of(file)).items()}
    return replace(file, modules=modules)


class Changes(Mapping[str, Change]):
    """Module name -> its change, made when it is looked at. In the order of the file.

    Attributes:
        names: what the modules are called on disk.
        unmatched: names in the file that mean nothing in the base model.
    """

    def __init__(
        self, adapters: Mapping[str, tuple[Adapter, Base, LayerShape]], names: Mapping[str, DiskName], unmatched: tuple[str, ...] = ()
    ) -> None:  # fmt: skip
        self._adapters, self.names, self.unmatched = adapters, names, unmatched

    def __getitem__(self, name: str) -> Change:
        adapter, base, shape = self._adapters[name]
        return change_of(adapter, base, shape.weight)

    def __iter__(self) -> Iterator[str]:
        return iter(self._adapters)

    def __len__(self) -> int:
        return len(self._adapters)


def read_changes(file: AdapterFile, checkpoint: Checkpoint | None) -> Changes:
    """Raises:
    AdapterError: `tool.needs_base` where a module cannot be read without a base model, and what `Network.from_file` raises.
    """
    return _in_model(file, checkpoint) if checkpoint else _alone(file)


def all_matched(file: AdapterFile, changes: Changes) -> Changes:
    """Raises:
    AdapterError: `tool.unmatched`: some modules of the file do not exist in the base model, and would be lost.
    """
    if changes.unmatched:
        raise AdapterError(
            "tool.unmatched",
            f"{len(changes.unmatched)} of {len(changes) + len(changes.unmatched)} modules of {file.path.name} do not exist in the base "
            f"model, the first is {changes.unmatched[0]}.",
            "A base model that has them all: nothing is left out of the new file.", "Choose the model it was trained on.",
            path=file.path.name, count=len(changes.unmatched), total=len(changes) + len(changes.unmatched),
            module=changes.unmatched[0], field="tool.model",
        )  # fmt: skip
    return changes


def _in_model(file: AdapterFile, checkpoint: Checkpoint) -> Changes:
    network = Network.from_file(file, checkpoint.components, checkpoint.facts.family)
    adapters = {}
    for name, ref in network.refs.items():
        layer = checkpoint.layer(ref.component, ref.path)
        shape = LayerShape.of(checkpoint.components[ref.component].get_submodule(ref.path))
        adapters[name] = (network.adapters[name], layer, shape)
    return Changes(adapters, network.names, network.match.unmatched)  # type: ignore[arg-type]


def _alone(file: AdapterFile) -> Changes:
    adapters: dict[str, tuple[Adapter, Base, LayerShape]] = {}
    written_names = kohya_names(file.modules, family_of(file))
    names = {}
    for written, tensors in file.modules.items():
        algorithm = algorithm_of({suffix: tensor.shape for suffix, tensor in tensors.items()})
        if algorithm not in ALONE or "dora_scale" in tensors:
            raise AdapterError(
                "tool.needs_base", f"{file.path.name}: what the module {written} does depends on the base model.",
                "Only plain LoRA is read without one.", "Choose the base model it was trained on.",
                path=file.path.name, module=written, field="tool.model",
            )  # fmt: skip
        shape = shape_of(tensors)
        name = written_names[written].apart if written_names[written].rows else written_names[written].name
        adapters[name], names[name] = (read_module(file, written, tensors, shape), {}, shape), written_names[written]
    return Changes(adapters, names)


def shape_of(tensors: Mapping[str, Tensor]) -> LayerShape:
    """The layer that the tensors of a module fit which needs no base model."""
    if (down := tensors.get("lora_down.weight")) is not None:
        kernel = tensors.get("lora_mid.weight", down).shape[2:]
        return LayerShape(tensors["lora_up.weight"].shape[0], down.shape[1], tuple(kernel))
    norm = next((tensor for suffix, tensor in tensors.items() if suffix in ("w_norm", "b_norm")), None)
    if norm is not None:
        return LayerShape(norm.numel(), 0)
    if (weight := tensors.get("diff")) is not None and weight.dim() > 1:
        return LayerShape(weight.shape[0], weight.shape[1], tuple(weight.shape[2:]))
    return LayerShape(tensors["diff_b"].numel() if "diff_b" in tensors else 0, 1)  # how many inputs, a bias does not say
