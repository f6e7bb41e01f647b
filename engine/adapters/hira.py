"""HiRA: the base weight times a thin product, element by element, so that the change has a high rank.

Huang et al. 2025, "HiRA: Parameter-Efficient Hadamard High-Rank Adaptation for Large Language Models":
dW = s W * (B A). Names and shapes are PEFT's, which has no scale: its files have no `alpha`, and alpha = rank then. No other
form holds the change, so that programs without HiRA cannot read the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.factored import Factored, common, fitted, leading
from engine.adapters.layers import Base
from engine.adapters.thin import random_down
from engine.config.adapter import HiraOptions
from engine.config.sizes import thin_rank, thin_sizes


class Hira(Factored):
    """`hira_A` is (rank, in[, k, k]), `hira_B` (out, rank[, 1, 1])."""

    suffixes = ("hira_A", "hira_B", "alpha")

    def __init__(self, down: Tensor, up: Tensor, alpha: float, **common: float) -> None:
        super().__init__(**common)
        self.hira_A, self.hira_B = nn.Parameter(down), nn.Parameter(up)
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / len(down)

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: HiraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        up = torch.zeros(thin_sizes(shape, rank)[1])
        return cls(random_down(shape, rank, generator), up, scale * rank, **common(options))

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        rank = leading(tensors, "hira_A")
        factors = fitted(tensors, dict(zip(("hira_A", "hira_B"), thin_sizes(shape, rank), strict=True)))
        return cls(factors["hira_A"], factors["hira_B"], float(tensors.get("alpha", rank)))

    forward = Adapter.forward
    """There is no cheaper way than the changed weight."""

    def change(self) -> Tensor:
        """What the weight is multiplied by, less the ranks that are dropped in this step of training."""
        down, up = self.hira_A.flatten(1), self.hira_B.flatten(1) * self.scale
        if (kept := self.kept(len(down))) is not None:
            up = up * kept.to(up)
        return (up @ down).view(len(up), *self.hira_A.shape[1:])

    def deltas(self, base: Base) -> dict[str, Tensor]:
        return {"weight": base["weight"].to(self.hira_A.dtype) * self.change()}

    def up_factors(self) -> list[nn.Parameter]:
        return [self.hira_B]
