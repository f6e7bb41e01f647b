"""The `forward` of a layer that has adapters beside its weights.

One rule, W + sum of s_i * deltas_i(W), by the way that is both exact and cheap. Where all that act change the weights only, and
these are float32, the layer computes once at the sum. In half precision a change that is small beside its weight would be
rounded away in that sum, which is how training begins; there, and where an adapter works on activations, what it adds to the
output is computed by itself, and the layer's own weights stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter
from engine.adapters.layers import autocasts, base_tensors, times
from engine.adapters.recompute import layer_at

if TYPE_CHECKING:
    from engine.adapters.network import Network

STOCK = (nn.Linear.forward, nn.Conv2d.forward, nn.LayerNorm.forward, nn.GroupNorm.forward)
"""Forwards that do nothing but apply weight and bias."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One adapter in one layer.

    Attributes:
        strengths: by component; None for the network's own. They may change from step to step.
        factor: on its strength, in this layer.
    """

    network: Network
    adapter: Adapter
    component: str
    strengths: Mapping[str, float] | None
    factor: float = 1.0

    @property
    def strength(self) -> float:
        """Its strength now, 0 while it sits out."""
        if self.adapter.dropped and self.adapter.training:
            return 0.0
        strengths = self.network.strengths if self.strengths is None else self.strengths
        return strengths.get(self.component, 1.0) * self.factor


Acting = Sequence[tuple[float, Adapter]]
"""Strength and adapter."""


class Beside:
    """Shadows `forward` of `layer` until the last entry leaves."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer, self.plain, self.entries = layer, layer.forward, list[Entry]()
        self.stock = getattr(layer.forward, "__func__", None) in STOCK
        layer.forward = self  # type: ignore[method-assign]

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        present = [(entry.strength, entry.adapter) for entry in self.entries]
        acting = [(strength, adapter) for strength, adapter in present if strength]
        if acting and self._sums(x, acting):
            learning = (parameter for _, adapter in acting for parameter in adapter.parameters())
            return layer_at(self.layer, x, lambda: moved(self.layer, acting), learning)
        y = self.plain(x, *args, **kwargs)
        if len(acting) == 1:
            ((strength, adapter),) = acting
            return adapter.add_to(y, x, self.layer, strength)
        # Several are added up before they meet y, so that their order leaves no trace in the rounding.
        changes = [times(strength, adapter(x, y, self.layer)) for strength, adapter in acting]
        return y + sum(changes[1:], changes[0]).to(y.dtype) if changes else y

    def _sums(self, x: Tensor, acting: Acting) -> bool:
        """Whether the changes are added to the weight."""
        if not self.stock or any(adapter.beside for _, adapter in acting):
            return False
        weight = self.layer.weight
        exact = weight.dtype == x.dtype and x.dtype in (torch.float32, torch.float64) and not autocasts(x)
        return exact and not weight.requires_grad

    def take_out(self, entry: Entry) -> None:
        self.entries.remove(entry)
        if not self.entries:
            del self.layer.forward


def moved(layer: nn.Module, acting: Acting) -> dict[str, Tensor]:
    """The layer's weight and bias at the sum of the changes."""
    base = base_tensors(layer)
    changes: dict[str, Tensor] = {}
    for strength, adapter in acting:
        for name, delta in adapter.deltas(base).items():
            change = times(strength, delta)
            changes[name] = changes[name] + change if name in changes else change
    return {name: tensor + changes[name] if name in changes else tensor for name, tensor in base.items()}
