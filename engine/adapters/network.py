"""All adapters of one LoRA, and their place in a model: `lora_unet_mid_block_...` -> the layer it changes.

A network is made from options or from a file. It is put into a model unmerged (`insert`, for training and for trying it
while it trains) or merged by `engine.adapters.merge`. Layers keep their class, their name and their weights; inserting
shadows `forward` on the instance and removing deletes the shadow, so that nothing remains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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
    """Adapters by module name on disk.

    Attributes:
        refs: module name on disk -> the layer it belongs to.
        strengths: component -> factor on everything the network does there; 0 bypasses it.
        match: for a network from a file, how much of it was placed.
    """

    def __init__(self, adapters: Mapping[str, Adapter], refs: Mapping[str, ModuleRef], match: Match | None = None) -> None:
        super().__init__()
        self.adapters = nn.ModuleDict(adapters)
        self.refs = dict(refs)
        self.strengths: dict[str, float] = {"unet": 1.0, "text_encoder": 1.0}
        self.match = match or Match(len(self.refs), ())
        self._layers: list[nn.Module] = []

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
            AdapterError: `adapter.no_match`, `adapter.wrong_shape` or `adapter.algorithm`.
        """
        paths = {name: [path for path, layer in part.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)] for name, part in components.items()}
        refs, unmatched = NameIndex(paths).match(file.modules)
        if not refs:
            raise AdapterError(
                "adapter.no_match", f"None of the {len(unmatched)} modules of {file.path.name} exists in this base model.",
                "A LoRA made for this family of models.", "Choose the base model it was trained on.",
                path=file.path.name, total=len(unmatched), example=unmatched[0],
            )  # fmt: skip
        adapters = {}
        for name, ref in refs.items():
            shape = LayerShape.of(components[ref.component].get_submodule(ref.path))
            adapters[_key(name)] = _read(file, name, shape)
        return cls(adapters, {_key(name): ref for name, ref in refs.items()}, Match(len(refs), tuple(unmatched)))

    def counts(self) -> dict[str, int]:
        """Adapted modules per component."""
        return dict(Counter(ref.component for ref in self.refs.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Everything that is saved: `module.suffix` -> tensor."""
        return {f"{name}.{suffix}": tensor for name, adapter in self.adapters.items() for suffix, tensor in adapter.tensors().items()}

    def component_parameters(self, component: str) -> list[nn.Parameter]:
        return [p for name, ref in self.refs.items() if ref.component == component for p in self.adapters[name].parameters()]

    def begin_step(self, generator: torch.Generator) -> None:
        for adapter in self.adapters.values():
            adapter.begin_step(generator)  # type: ignore[operator]

    def insert(self, components: Components) -> None:
        """Put the adapters beside their layers' weights, unmerged. Several networks may be in one model."""
        for name, ref in self.refs.items():
            layer = components[ref.component].get_submodule(ref.path)
            layer.forward = _adapted(layer, layer.forward, self, name, ref.component)  # type: ignore[method-assign]
            self._layers.append(layer)

    def remove(self) -> None:
        """Take the adapters out again: the newest network first where several share a layer.

        Raises:
            RuntimeError: another network was inserted after this one and is still there.
        """
        while self._layers:
            layer = self._layers[-1]
            shadow = layer.__dict__["forward"]
            if shadow.network is not self:
                raise RuntimeError("networks are removed in the reverse order of their insertion")
            if hasattr(shadow.plain, "network"):
                layer.forward = shadow.plain
            else:
                del layer.forward
            self._layers.pop()


def _adapted(layer: nn.Module, plain: Callable, network: Network, name: str, component: str) -> Callable:
    adapter = network.adapters[name]

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        y = plain(x, *args, **kwargs)
        strength = network.strengths[component]
        if strength == 0:
            return y
        change = adapter(x, layer)
        return y + (change if strength == 1 else strength * change).to(y.dtype)

    forward.network, forward.plain = network, plain  # type: ignore[attr-defined]
    return forward


def _read(file: AdapterFile, name: str, shape: LayerShape) -> Adapter:
    tensors = file.modules[name]
    algorithm = algorithm_of(set(tensors)) or "unknown"
    known = ADAPTERS.get(algorithm)
    extra = sorted(set(tensors) - set(known.suffixes)) if known else []
    if not known or extra:
        raise AdapterError(
            "adapter.algorithm", f"{file.path.name}: module {name} uses {extra[0] if extra else algorithm}, which is not applied yet.",
            f"Algorithms known so far: {', '.join(ADAPTERS)}.", "Use a LoRA or LoCon file.", path=file.path.name, algorithm=algorithm,
        )  # fmt: skip
    try:
        return known.from_tensors(shape, tensors)
    except ValueError as error:
        raise AdapterError(
            "adapter.wrong_shape", f"{file.path.name}: in {name} {error}.", "A LoRA made for this family of models.",
            "Choose the base model it was trained on.", path=file.path.name, module=name,
        ) from None  # fmt: skip


def _key(name: str) -> str:
    """nn.ModuleDict allows no dots; names from other programs may have them."""
    return name.replace(".", "_")
