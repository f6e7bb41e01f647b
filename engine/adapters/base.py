"""What an adapter algorithm is: parameters, and the change they make to one layer's weights.

An algorithm states its tensors under their on-disk names and `deltas`, the change of weight and bias as a differentiable
function. From these two this class derives the training forward, strength, stacking, merging, saving and loading; the rule
for several adapters is W + sum of s_i * deltas_i(W), in any order. It knows no model family and no file format.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Base = Mapping[str, Tensor]
"""A layer's own tensors: `weight` and, where it has one, `bias`."""


@dataclass(frozen=True)
class LayerShape:
    """What an algorithm must know of a layer: Linear has `kernel` (); Conv2d (k, k)."""

    outputs: int
    inputs: int
    kernel: tuple[int, ...] = ()

    @classmethod
    def of(cls, layer: nn.Module) -> LayerShape:
        if isinstance(layer, nn.Linear):
            return cls(layer.out_features, layer.in_features)
        if isinstance(layer, nn.Conv2d) and layer.groups == 1:
            return cls(layer.out_channels, layer.in_channels, tuple(layer.kernel_size))
        raise TypeError(f"{type(layer).__name__} cannot carry an adapter")

    @property
    def spatial(self) -> bool:
        """Whether the layer looks at more than one pixel: a convolution larger than 1x1."""
        return any(side > 1 for side in self.kernel)


class Adapter(nn.Module, ABC):
    """One adapted layer. Parameters and buffers carry the suffixes they have on disk; `alpha` is a float32 scalar."""

    suffixes: ClassVar[tuple[str, ...]]
    """Every tensor name the algorithm may have on disk."""

    @classmethod
    @abstractmethod
    def create(cls, shape: LayerShape, options: Any, generator: torch.Generator) -> Self:
        """A new adapter that changes nothing yet; all randomness from `generator` (on the CPU)."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        """An adapter from a file, at float32.

        Raises:
            ValueError: the tensors do not fit the layer; the text says how.
        """

    @abstractmethod
    def deltas(self, base: Base) -> dict[str, Tensor]:
        """The change of `weight` (and `bias`), in the shapes of the base tensors, float32, differentiable."""

    def forward(self, x: Tensor, layer: nn.Module) -> Tensor:
        """The change of the layer's output. Linear and convolution are linear in their weights, so it is the layer at deltas."""
        change = self.deltas(dict(layer.named_parameters(recurse=False)))
        weight, bias = change["weight"], change.get("bias")
        if isinstance(layer, nn.Conv2d):
            return F.conv2d(x.to(weight.dtype), weight, bias, layer.stride, layer.padding, layer.dilation)
        return F.linear(x.to(weight.dtype), weight, bias)

    def begin_step(self, generator: torch.Generator) -> None:
        """Draw the randomness of a training step. `forward` draws none: checkpointing runs it twice."""

    def tensors(self) -> dict[str, Tensor]:
        """What is saved, by suffix."""
        return dict(self.state_dict())
