"""What all adapters together add to the weights of one layer."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from engine.adapters.network import Network
from engine.tools.checkpoint import LayerTensors

Term = tuple[Network, str, float]
"""Network, its module, and the weight."""


class LayerSum:
    """W + sum of weight * change, in float32. Made when the first tensor of the layer is asked for, and forgotten part by part as
    these are taken.

    Args:
        counted: notes the tensors that do change.
    """

    def __init__(self, base: LayerTensors, terms: list[Term], counted: set[Hashable]) -> None:
        self.base, self.terms, self.counted = base, terms, counted
        self._ready: dict[str, Tensor | None] = {}

    def add(self, name: str, old: Tensor) -> Tensor:
        """A tensor of the layer with what the adapters add, float32; the very same tensor where they add nothing."""
        if name not in self._ready:
            self._ready = self._sum()
        delta = self._ready.pop(name)
        if delta is None:
            return old
        self.counted.add((self.base.component, self.base.path, name))
        return old.float() + delta.view(old.shape)

    @torch.no_grad()
    def _sum(self) -> dict[str, Tensor | None]:
        total: dict[str, Tensor | None] = dict.fromkeys(self.base)
        for network, module, weight in self.terms:
            for name, delta in network.adapters[module].deltas(self.base).items():  # type: ignore[operator]
                before = total[name]
                total[name] = weight * delta if before is None else before + weight * delta
        return total
