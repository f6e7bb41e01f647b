"""Applying networks by writing them into the weights, and taking them out again without a trace.

Originals are kept in main memory where there is room, else read again from the model's file; nothing is ever subtracted, so that
after any number of changes the base is bit-identical. Sums are made in float32 and rounded once. What does not change from one
request to the next is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import psutil
import torch
from torch import Tensor, nn

from engine.adapters.layers import Base, base_tensors
from engine.adapters.network import Components, Network

SPARE = 1.2
"""Main memory that must be free to keep originals, as a multiple of their size."""
READ_AT_ONCE = 512 * 2**20
"""Bytes of originals that are read again together."""
Place = tuple[str, str]
"""A layer: component and path."""


@dataclass
class Applied:
    """A network in force.

    Attributes:
        text_encoder: strength on all text encoders.
        unet: strength on what draws; where it changes on the way, the one furthest from 0.
        key: changes when the network's file does; its first entry is the file.
        factors: name of a layer in the network -> factor on its strength, 1 where it is missing.
        schedule: strength on what draws at a step (from 1) of so many; None where it stays `unet`.
        mode: whether it was written into the weights for the last picture, or stayed beside them.
        name: what the prompt calls it; "" where no prompt does.
    """

    network: Network
    text_encoder: float
    unet: float
    key: tuple
    factors: Mapping[str, float] = field(default_factory=dict)
    schedule: Callable[[int, int], float] | None = None
    mode: Literal["merged", "beside"] = "merged"
    name: str = ""

    @property
    def embeddings(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The embeddings bundled with it, by name -> their own tensor names -> tensor."""
        return self.network.embeddings

    def strength(self, component: str) -> float:
        return self.text_encoder if component.startswith("text_encoder") else self.unet

    def strengths(self) -> Iterator[tuple[Place, str, float]]:
        """(layer, its name in the network, strength there) of every layer where it is not 0."""
        for name, ref in self.network.refs.items():
            if strength := self.strength(ref.component) * self.factors.get(name, 1.0):
                yield (ref.component, ref.path), name, strength


class Originals(Protocol):
    """Reads tensors of a model again as they were loaded."""

    def has(self, component: str) -> bool:
        """Whether it can read this component's."""
        ...

    def read(self, component: str, names: Sequence[str]) -> dict[str, Tensor]:
        """Parameter name -> its original, on the CPU.

        Raises:
            ModelError: the file is not what it was.
        """
        ...


Share = tuple[tuple, str, float]
"""Part of what is merged into a layer: key of the network, name of the layer there, strength."""


class Merger:
    """Merges networks into one model's weights.

    Args:
        components: the model's adaptable parts, in their original state.
        originals: where there is no room in main memory; None: what does not fit is not merged.
        free: bytes of main memory that may still be asked for.
    """

    def __init__(
        self, components: Components, originals: Originals | None = None, free: Callable[[], float] | None = None
    ) -> None:
        self.components = components
        self._file, self._free = originals, free or (lambda: psutil.virtual_memory().available)
        self._kept: dict[Place, dict[str, Tensor]] = {}
        self._merged: dict[Place, tuple[Share, ...]] = {}
        """What each layer holds now; layers that are as they were loaded are missing."""

    @torch.no_grad()
    def apply(self, networks: Sequence[Applied]) -> bool:
        """Make the weights `base + sum of strength * deltas`; whatever was applied before is gone.

        Returns:
            False where the originals can neither be kept nor read again: then nothing is merged.

        Raises:
            ModelError: as `Originals.read`.
        """
        wanted, by_key = _shares(networks), {entry.key: entry.network for entry in networks}
        kept = self._room_for(place for place in wanted if place not in self._kept)
        if kept is None:
            self.restore()
            return False
        changing = {
            place: self._tensors(place) for place in {**self._merged, **wanted} if wanted.get(place) != self._merged.get(place)
        }
        for layers in _together(changing):
            read = self._read({place: own for place, own in layers.items() if place in self._merged and place not in self._kept})
            for place, own in layers.items():
                original = self._kept.get(place) or read.get(place) or {}
                self._write(place, own, original, wanted.get(place, ()), by_key, kept)
        return True

    def restore(self) -> None:
        """Put every original back, bit for bit.

        Raises:
            ModelError: as `Originals.read`; the model is not what it was then, and must be loaded again.
        """
        self.apply([])

    def _room_for(self, new: Iterable[Place]) -> bool | None:
        """Whether to keep the originals of layers in main memory; None if they had to be and do not fit."""
        places = list(new)
        size = sum(tensor.nbytes for place in places for tensor in self._tensors(place).values())
        if not size or SPARE * size <= self._free():
            return True
        readable = self._file is not None and all(map(self._file.has, {component for component, _ in places}))
        return False if readable else None

    def _read(self, layers: Mapping[Place, Base]) -> dict[Place, dict[str, Tensor]]:
        """Originals from the model's file."""
        found: dict[Place, dict[str, Tensor]] = {}
        for component in {component for component, _ in layers}:
            assert self._file
            names = {
                f"{place[1]}.{name}": (place, name) for place, own in layers.items() if place[0] == component for name in own
            }
            for key, tensor in self._file.read(component, list(names)).items():
                place, name = names[key]
                found.setdefault(place, {})[name] = tensor
        return found

    def _write(
        self, place: Place, now: Base, original: Base, shares: tuple[Share, ...], by_key: Mapping[tuple, Network], keep: bool
    ) -> None:  # fmt: skip
        """Give a layer the sum of its original and some changes. Up to the moment of writing an error leaves it as it is.

        Args:
            now: the layer's tensors.
            original: what those of them were that are changed.
        """
        device = now["weight"].device
        base = now | {name: tensor.to(device) for name, tensor in original.items()}
        changes: dict[str, Tensor] = {}
        for key, name, strength in shares:
            adapter = by_key[key].adapters[name]
            with _on(device, adapter):
                for tensor, delta in adapter.deltas(base).items():  # type: ignore[operator]
                    change = strength * delta  # never the adapter's own tensor, which leaves the device
                    changes[tensor] = changes[tensor] + change if tensor in changes else change
        sums = {name: base[name].float() + change for name, change in changes.items()}
        if shares and (keep or place in self._kept):
            self._kept[place] = {**original, **{name: now[name].to("cpu", copy=True) for name in sums if name not in original}}
        self._merged[place] = shares
        for name in {**original, **sums}:
            now[name].copy_(sums.get(name, base[name]))
        if not shares:
            self._kept.pop(place, None)
            del self._merged[place]

    def _tensors(self, place: Place) -> dict[str, Tensor]:
        return base_tensors(self.components[place[0]].get_submodule(place[1]))


@contextmanager
def _on(device: torch.device, adapter: nn.Module) -> Iterator[None]:
    """An adapter visits the device; many files are kept ready, for which it may have no room."""
    if device.type == "cpu":
        yield
        return
    adapter.to(device)
    try:
        yield
    finally:
        adapter.to("cpu")


def _together(layers: Mapping[Place, Base]) -> Iterator[dict[Place, Base]]:
    """Layers in groups of which the originals may be in main memory at once."""
    group, size = dict[Place, Base](), 0
    for place, own in layers.items():
        group[place] = own
        size += sum(tensor.nbytes for tensor in own.values())
        if size > READ_AT_ONCE:
            yield group
            group, size = {}, 0
    yield group


def _shares(networks: Sequence[Applied]) -> dict[Place, tuple[Share, ...]]:
    """What is to be merged into each layer. The same adapter twice is one with both strengths."""
    found: dict[Place, dict[tuple[tuple, str], float]] = {}
    for entry in networks:
        for place, name, strength in entry.strengths():
            shares = found.setdefault(place, {})
            shares[entry.key, name] = shares.get((entry.key, name), 0.0) + strength
    summed = {place: tuple((*share, sum_) for share, sum_ in shares.items() if sum_) for place, shares in found.items()}
    return {place: shares for place, shares in summed.items() if shares}
