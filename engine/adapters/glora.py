"""GLoRA: the base weight times one low-rank matrix, plus another.

Chavan et al. 2023, "One-for-All: Generalized LoRA for Parameter-Efficient Fine-tuning", of whose terms LyCORIS keeps
two: dW = (alpha / rank) * (W A + B), A = a1 @ a2 and B = b1 @ b2. On a convolution A mixes the channels of each pixel
before it, and B is a LoCon, its first factor (rank, in, k, k) or Tucker's with the core `bm`. Early LyCORIS, and AUTOMATIC1111 to
this day, have a1 and a2 exchanged, b1 and b2 too; such files are told by their shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape, ParamGroup
from engine.adapters.factored import fitted, leading
from engine.adapters.layers import Base, base_tensors, change_of_output
from engine.adapters.thin import Factor
from engine.adapters.tucker import core_on
from engine.config.adapter import GloraOptions
from engine.config.sizes import glora_sizes
from engine.formats.suffixes import ALGORITHM_SUFFIXES

EXCHANGED = {"a1.weight": "a2.weight", "a2.weight": "a1.weight", "b1.weight": "b2.weight", "b2.weight": "b1.weight"}


class Glora(Adapter):
    suffixes = (*ALGORITHM_SUFFIXES["glora"], "alpha")

    def __init__(self, factors: Mapping[str, Tensor], alpha: float, module_dropout: float = 0.0) -> None:
        super().__init__(module_dropout)
        self.a1, self.a2 = Factor(factors["a1.weight"]), Factor(factors["a2.weight"])
        self.b1, self.b2 = Factor(factors["b1.weight"]), Factor(factors["b2.weight"])
        self.bm = Factor(factors["bm.weight"]) if "bm.weight" in factors else None
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / self.a2.weight.shape[0]

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: GloraOptions, generator: torch.Generator) -> Self:
        factors = {name: torch.zeros(size) for name, size in glora_sizes(shape, options.rank).items()}
        for name in ("a1.weight", "b1.weight"):
            nn.init.kaiming_uniform_(factors[name], a=5**0.5, generator=generator)
        return cls(factors, options.alpha or options.rank, options.module_dropout)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        if leading(tensors, "a2.weight") == shape.inputs != leading(tensors, "a1.weight"):
            tensors = {EXCHANGED.get(name, name): tensor for name, tensor in tensors.items()}
        rank = leading(tensors, "a2.weight")
        factors = fitted(tensors, glora_sizes(shape, rank, "bm.weight" in tensors))
        return cls(factors, float(tensors.get("alpha", rank)))

    def second_down(self) -> Tensor:
        """The first factor of B to act on an input, (rank, in, *kernel)."""
        return self.b2.weight if self.bm is None else core_on(self.bm.weight, self.b2.weight.flatten(1))

    def deltas(self, base: Base) -> dict[str, Tensor]:
        a1, a2, b1, b2 = (factor.flatten(1) for factor in (self.a1.weight, self.a2.weight, self.b1.weight, self.second_down()))
        weight = base["weight"].to(a1.dtype)
        of_weight = torch.einsum("or...,ri->oi...", torch.einsum("oi...,ir->or...", weight, a1), a2)
        return {"weight": self.scale * (of_weight + (b1 @ b2).view(weight.shape))}

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """W (A x) + B x: the layer once more at A x, so that no weight is made."""
        x = x.to(self.a1.weight.dtype)
        mixed = _point(_point(x, self.a2.weight), self.a1.weight * self.scale)
        added = _point(change_of_output(layer, x, {"weight": self.second_down()}), self.b1.weight * self.scale)
        return change_of_output(layer, mixed, {"weight": base_tensors(layer)["weight"]}) + added

    def param_groups(self) -> list[ParamGroup]:
        first, second = [self.a1.weight, self.b1.weight], [self.a2.weight, self.b2.weight]
        return [ParamGroup(first + ([] if self.bm is None else [self.bm.weight])), ParamGroup(second, up=True)]


def _point(x: Tensor, weight: Tensor) -> Tensor:
    """A matrix, or 1x1 convolution, on the channels of x."""
    return F.conv2d(x, weight) if weight.dim() == 4 else F.linear(x, weight)
