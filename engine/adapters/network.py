"""All adapters of one LoRA, and their place in a model: `lora_unet_mid_block_...` -> the layer it changes.

A network is made from options or from a file. It is put into a model unmerged (`insert`, for training and for trying it
while it trains) or merged by `engine.adapters.merge`. Layers keep their class, their name and their weights; `forward` is
shadowed on the instance while there are adapters and comes back when the last one leaves, so that nothing remains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.adapters import ADAPTERS
from engine.adapters.base import Adapter, LayerShape
from engine.errors import AdapterError
from engine.formats.adapter_file import AdapterFile
from engine.formats.names import ModuleRef, NameIndex, disk_names
from engine.formats.suffixes import algorithm_of

Components = Mapping[str, nn.Module]
"""The adaptable parts of a model: "unet", "text_encoder"."""


@dataclass(frozen=True)
class Match:
    """How much of a file found its place in a model."""

    matched: int
    unmatched: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.matched + len(self.unmatched)


class Network(nn.Module):
    """Adapters by module name on disk, as Kohya's trainer spells it.

    Attributes:
        refs: module name on disk -> the layer it belongs to.
        strengths: component -> factor on everything the network does there, wherever `insert` was not given others; 0
            bypasses it.
        match: for a network from a file, how much of it was placed.
    """

    def __init__(self, adapters: Mapping[str, Adapter], refs: Mapping[str, ModuleRef], match: Match | None = None) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict(adapters)
        self.refs = dict(refs)
        self.strengths: dict[str, float] = {"unet": 1.0, "text_encoder": 1.0}
        self.match = match or Match(len(self.refs), ())
        self._places: list[tuple[_Beside, _Entry]] = []

    @classmethod
    def create(
        cls, algorithm: str, options: Any, components: Components, targets: Mapping[str, Iterable[str]], seed: int
    ) -> Network:
        """A fresh network that changes nothing.

        Args:
            targets: component -> dotted paths of the layers to adapt.
            seed: of the initial values; they do not depend on the device.
        """
        generator = torch.Generator().manual_seed(seed)
        adapters, refs = {}, {}
        for component, paths in targets.items():
            for path, name in disk_names(component, paths).items():  # type: ignore[arg-type]
                shape = LayerShape.of(components[component].get_submodule(path))
                adapters[name] = ADAPTERS[algorithm].create(shape, options, generator)
                refs[name] = ModuleRef(component, path)  # type: ignore[arg-type]
        return cls(adapters, refs)

    @classmethod
    def from_file(cls, file: AdapterFile, components: Components) -> Network:
        """The network in a file, placed into a model. Modules the model lacks are counted in `match`.

        Raises:
            AdapterError: `adapter.no_match`, `adapter.wrong_shape`, `adapter.algorithm` or `adapter.module_twice`.
        """
        paths = {
            component: [path for path, layer in part.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
            for component, part in components.items()
        }
        found, unmatched = NameIndex(paths).match(file.modules)
        if not found:
            raise AdapterError(
                "adapter.no_match", f"None of the {len(unmatched)} modules of {file.path.name} exists in this base model.",
                "A LoRA made for this family of models.", "Choose the base model it was trained on.",
                path=file.path.name, total=len(unmatched), example=unmatched[0],
            )  # fmt: skip
        adapters, refs = {}, {}
        for written, ref in found.items():
            name = disk_names(ref.component, [ref.path])[ref.path]
            if name in refs:
                raise AdapterError(
                    "adapter.module_twice", f"{file.path.name} holds the module {name} under two names, one of them {written}.",
                    "Each module once.", "Save it again with the program that made it.", path=file.path.name, module=name,
                )  # fmt: skip
            adapters[name] = _read(file, written, LayerShape.of(components[ref.component].get_submodule(ref.path)))
            refs[name] = ref
        return cls(adapters, refs, Match(len(refs), tuple(unmatched)))

    def counts(self) -> dict[str, int]:
        """Adapted modules per component."""
        return dict(Counter(ref.component for ref in self.refs.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is saved: `module.suffix` -> tensor."""
        named = ((name, adapter.tensors()) for name, adapter in self.adapters.items())  # type: ignore[operator]
        return {f"{name}.{suffix}": tensor for name, tensors in named for suffix, tensor in tensors.items()}

    def component_parameters(self, component: str) -> list[nn.Parameter]:
        return [p for name, ref in self.refs.items() if ref.component == component for p in self.adapters[name].parameters()]

    def begin_step(self, generator: torch.Generator) -> None:
        for adapter in self.adapters.values():
            adapter.begin_step(generator)  # type: ignore[operator]

    def insert(self, components: Components, strengths: Mapping[str, float] | None = None) -> None:
        """Put the adapters beside their layers' weights, unmerged.

        Any number of networks may be in one model, the same one twice too; what they change adds up in any order.

        Args:
            strengths: by component, for this insertion only; the network's own `strengths` when not given.
        """
        for name, ref in self.refs.items():
            layer = components[ref.component].get_submodule(ref.path)
            beside = layer.__dict__.get("forward") or _Beside(layer)
            entry = _Entry(self, self.adapters[name], ref.component, strengths)  # type: ignore[arg-type]
            beside.entries.append(entry)
            self._places.append((beside, entry))

    def remove(self) -> None:
        """Take the adapters out again, wherever and however often they were inserted."""
        while self._places:
            beside, entry = self._places.pop()
            beside.take_out(entry)


@dataclass(frozen=True, eq=False)
class _Entry:
    """One adapter in one layer."""

    network: Network
    adapter: Adapter
    component: str
    strengths: Mapping[str, float] | None

    @property
    def strength(self) -> float:
        return (self.network.strengths if self.strengths is None else self.strengths)[self.component]


class _Beside:
    """The `forward` of a layer that has adapters beside its weights."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.plain, self.entries = layer, layer.forward, list[_Entry]()
        layer.forward = self  # type: ignore[method-assign]

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = self.plain(x, *args, **kwargs)
        changes = [_times(entry.strength, entry.adapter(x, self.layer)) for entry in self.entries if entry.strength]
        return y + sum(changes[1:], changes[0]).to(y.dtype) if changes else y

    def take_out(self, entry: _Entry) -> None:
        self.entries.remove(entry)
        if not self.entries:
            del self.layer.forward


def _times(strength: float, change: Tensor) -> Tensor:
    return change if strength == 1 else strength * change


def _read(file: AdapterFile, name: str, shape: LayerShape) -> Adapter:
    tensors = file.modules[name]
    algorithm = algorithm_of(set(tensors)) or "unknown"
    known = ADAPTERS.get(algorithm)
    extra = sorted(set(tensors) - set(known.suffixes)) if known else []
    if not known or extra:
        raise AdapterError(
            "adapter.algorithm",
            f"{file.path.name}: module {name} uses {extra[0] if extra else algorithm}, which is not applied yet.",
            f"Algorithms known so far: {', '.join(ADAPTERS)}.", "Use a LoRA or LoCon file.",
            path=file.path.name, algorithm=algorithm,
        )  # fmt: skip
    try:
        return known.from_tensors(shape, tensors)
    except ValueError as error:
        raise AdapterError(
            "adapter.wrong_shape", f"{file.path.name}: in {name} {error}.", "A LoRA made for this family of models.",
            "Choose the base model it was trained on.", path=file.path.name, module=name,
        ) from None  # fmt: skip
