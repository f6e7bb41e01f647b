"""MiSS, earlier Bone: the input is cut into shards of `rank` numbers, which all share one matrix.

Kang and Yin 2024, "MiSS: Matrix Shard Sharing" (arXiv 2409.15371): the
shards are added up and the sum goes through D, (rank, out). With E, (rank, in), the identity repeated as often as it fits, this
is a LoRA whose down is fixed, dW = s D^T E, and that is what is saved. D and the shards are as in PEFT's `MissLayer` in its
standard mode, the last shard cut short where `rank` does not divide the input; PEFT has no scale, which is alpha = rank here.
What a convolution sees counts as in * k * k numbers, as its weight lies in memory.
"""

from __future__ import annotations

from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base, add_product_into, for_factor
from engine.adapters.thin import Thin, thin_common
from engine.config.adapter import MissOptions
from engine.config.sizes import check_shards, thin_rank, thin_sizes


class Miss(Thin):
    """`miss_block` is D, (rank, out)."""

    def __init__(self, shape: LayerShape, rank: int, scale: float, **common: float) -> None:
        super().__init__(**common)
        self.miss_block = nn.Parameter(torch.zeros(rank, shape.outputs))
        self.sizes, self.scale = thin_sizes(shape, rank), scale

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: MissOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        check_shards(rank, shape)
        return cls(shape, rank, scale, **thin_common(options))

    def factors(self) -> tuple[Tensor, Tensor]:
        rank, *inputs = self.sizes[0]
        shards = torch.arange(torch.Size(inputs).numel(), device=self.miss_block.device) % rank
        down = F.one_hot(shards, rank).T.reshape(self.sizes[0]).to(self.miss_block)
        return down, self.up().view(self.sizes[1])

    def up(self) -> Tensor:
        return self.miss_block.T if self.scale == 1 else self.miss_block.T * self.scale

    def through(self, x: Tensor, layer: nn.Module) -> Tensor:
        return super().through(x, layer) if isinstance(layer, nn.Conv2d) else F.linear(self.summed(x), self.up())

    def add_to(self, y: Tensor, x: Tensor, layer: nn.Module, strength: float) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            return super().add_to(y, x, layer, strength)
        return add_product_into(y, self.summed(x), self.up(), strength)

    def summed(self, x: Tensor) -> Tensor:
        """Where the inputs lie side by side, shards are added up instead of multiplied by zeros and ones: (..., rank)."""
        rank = len(self.miss_block)
        if rest := -x.shape[-1] % rank:
            x = F.pad(x, (0, rest))
        return for_factor(x, self.miss_block).reshape(*x.shape[:-1], -1, rank).sum(-2)
