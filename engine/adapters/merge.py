"""Applying networks by writing them into the weights, and taking them out again without a trace.

The originals are kept in main memory and copied back; nothing is ever subtracted, so that after any number of changes the
base is bit-identical. Sums are made in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.adapters.network import Components, Network


@dataclass(frozen=True)
class Applied:
    """A network with its strengths on all text encoders and on what draws, and a key that changes when its file or a strength does."""

    network: Network
    text_encoder: float
    unet: float
    key: tuple

    def strength(self, component: str) -> float:
        return self.text_encoder if component.startswith("text_encoder") else self.unet


class Merger:
    """Merges networks into one model's weights.

    Args:
        components: the model's adaptable parts.
    """

    def __init__(self, components: Components) -> None:
        self.components = components
        self._originals: dict[tuple[str, str, str], Tensor] = {}
        self._key: tuple | None = ()

    @torch.no_grad()
    def apply(self, networks: Sequence[Applied]) -> None:
        """Make the weights `base + sum of strength * deltas`; whatever was applied before is gone."""
        key = tuple((applied.key, applied.text_encoder, applied.unet) for applied in networks)
        if key == self._key:
            return
        self.restore()
        self._key = None  # an error on the way leaves a state that no request asks for, so that the next one restores it
        layers: dict[tuple[str, str], list[tuple[Network, str, float]]] = {}
        for applied in networks:
            for name, ref in applied.network.refs.items():
                if strength := applied.strength(ref.component):
                    layers.setdefault((ref.component, ref.path), []).append((applied.network, name, strength))
        for (component, path), adapters in layers.items():
            self._merge_layer(component, path, adapters)
        self._key = key

    def _merge_layer(self, component: str, path: str, adapters: list[tuple[Network, str, float]]) -> None:
        layer = self.components[component].get_submodule(path)
        base = dict(layer.named_parameters(recurse=False))
        changes: dict[str, Tensor] = {}
        for network, name, strength in adapters:
            adapter = network.adapters[name].to(layer.weight.device)
            for tensor, delta in adapter.deltas(base).items():  # type: ignore[operator]
                change = strength * delta
                changes[tensor] = changes[tensor] + change if tensor in changes else change
        for tensor, change in changes.items():
            weight = base[tensor]
            self._originals[component, path, tensor] = weight.detach().to("cpu", copy=True)
            weight.copy_(weight.float() + change)

    @torch.no_grad()
    def restore(self) -> None:
        """Put every original back, bit for bit."""
        for (component, path, name), original in self._originals.items():
            self.components[component].get_submodule(path).get_parameter(name).copy_(original)
        self._originals.clear()
        self._key = ()
