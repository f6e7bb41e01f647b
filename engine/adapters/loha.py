"""LoHa: the change of a weight as the element-wise product of two low-rank products, whose rank is up to rank squared.

Hyeon-Woo et al. 2022, "FedPara: Low-Rank Hadamard Product for Communication-Efficient Federated Learning", proposition 1:
dW = (alpha / rank) * (w1_a @ w1_b) * (w2_a @ w2_b), `*` element by element. Names, shapes and initial values are LyCORIS';
its merge, but not its forward, multiplies by alpha / rank twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.factored import Factored, common, fitted, leading
from engine.adapters.layers import Base
from engine.adapters.tucker import tucker
from engine.config.adapter import LohaOptions
from engine.config.sizes import loha_sizes, thin_rank
from engine.formats.suffixes import ALGORITHM_SUFFIXES, SHARED_SUFFIXES

DEVIATION = {"hada_w1_a": 0.1, "hada_w1_b": 1.0, "hada_w2_a": 0.0, "hada_w2_b": 1.0, "hada_t1": 0.1, "hada_t2": 0.1}
"""Standard deviation with which each factor begins."""


class Loha(Factored):
    suffixes = (*ALGORITHM_SUFFIXES["loha"], *SHARED_SUFFIXES)
    hada_w1_a: nn.Parameter
    hada_w1_b: nn.Parameter
    hada_w2_a: nn.Parameter
    hada_w2_b: nn.Parameter
    hada_t1: nn.Parameter | None
    hada_t2: nn.Parameter | None

    def __init__(self, shape: LayerShape, factors: Mapping[str, Tensor], alpha: float, **common: float) -> None:
        super().__init__(**common)
        for name in ALGORITHM_SUFFIXES["loha"]:
            self.register_parameter(name, nn.Parameter(factors[name]) if name in factors else None)
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / self.hada_w1_b.shape[0]
        self.size = shape.weight

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: LohaOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        sizes = loha_sizes(shape, rank, options.tucker and shape.spatial)
        factors = {name: torch.randn(size, generator=generator) * DEVIATION[name] for name, size in sizes.items()}
        return cls(shape, factors, scale * rank, **common(options)).decompose(base, options.decompose)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        rank = leading(tensors, "hada_w1_b")
        factors = fitted(tensors, loha_sizes(shape, rank, "hada_t1" in tensors or "hada_t2" in tensors))
        return cls(shape, factors, float(tensors.get("alpha", rank))).read_dora(shape, tensors)

    def change(self) -> Tensor:
        first, second = self.hada_w1_a * self.scale, self.hada_w2_a
        if self.hada_t1 is not None and self.hada_t2 is not None:
            return tucker(self.hada_t1, first, self.hada_w1_b) * tucker(self.hada_t2, second, self.hada_w2_b)
        return ((first @ self.hada_w1_b) * (second @ self.hada_w2_b)).view(self.size)

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.hada_w2_a]
