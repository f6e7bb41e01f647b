"""DyLoRA: LoRA whose leading ranks work by themselves, so that a finished file can be cut to any rank.

Valipour et al. 2022, "DyLoRA: Parameter-Efficient Tuning of Pretrained Models using Dynamic Search-Free Low Rank Adaptation",
algorithm 1: in each step only the first b ranks are there and learn (the paper's version without freezing). Every layer is
cut at the same share of its rank, as the file will be. The scale alpha / rank does not depend on b, so that a file cut to b
ranks, with its alpha cut to alpha * b / rank, is the network that was trained at b.

Kohya's trainer runs all ranks in every step and lets one unit of them learn, at a scale of its own; LyCORIS lets the last unit
below b learn, cuts each layer elsewhere, divides alpha by the number of units, and goes on drawing when training is over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base
from engine.adapters.lora import Lora
from engine.adapters.thin import random_down, thin_common
from engine.config.adapter import DyloraOptions
from engine.config.sizes import thin_rank, thin_sizes


class Dylora(Lora):
    """Attributes:
    active: how many leading ranks work in this step of training; all of them in evaluation.
    """

    def __init__(self, down: Tensor, up: Tensor, alpha: float, unit: int = 1, **common: float) -> None:
        super().__init__(down, up, alpha, **common)
        self.unit, self.active = unit, self.rank

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: DyloraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        up = torch.zeros(thin_sizes(shape, rank)[1])
        return cls(random_down(shape, rank, generator), up, scale * rank, options.unit, **thin_common(options))

    @classmethod
    def begin_together(cls, adapters: Sequence[Self], generator: torch.Generator) -> None:
        super().begin_together(adapters, generator)
        share = float(torch.rand((), generator=generator))
        for adapter in adapters:
            adapter.active = active_ranks(adapter.rank, adapter.unit, share)

    def mask(self, rank: int, x: Tensor) -> Tensor | None:
        kept = super().mask(rank, x)
        if not self.training or self.active == rank:
            return kept
        leading = (torch.arange(rank, device=x.device) < self.active).to(x.dtype)
        return leading if kept is None else leading * kept.to(leading)


def active_ranks(rank: int, unit: int, share: float) -> int:
    """The number of leading ranks at a share in [0, 1) of the rank, in whole units, at least one."""
    return unit * (int(share * (rank // unit)) + 1)
