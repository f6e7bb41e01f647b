"""LoRA: the change of a weight as the product of two thin matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3: W' = W + (alpha / rank) * up @ down. With
`freeze_down` it is LoRA-FA (Zhang et al. 2023, arXiv 2308.03303): only up learns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base
from engine.adapters.thin import Factor, Thin, random_down, read_thin, thin_common, thin_rank, thin_sizes
from engine.config.adapter import LoraOptions


class Lora(Thin):
    suffixes = (*Thin.suffixes, "dora_scale")

    def __init__(self, down: Tensor, up: Tensor, alpha: float, **common: float) -> None:
        super().__init__(**common)
        self.lora_down, self.lora_up = Factor(down), Factor(up)
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / down.shape[0]

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: LoraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        down, up = random_down(shape, rank, generator), torch.zeros(thin_sizes(shape, rank)[1])
        adapter = cls(down, up, scale * rank, **thin_common(options)).decompose(base, options.decompose)
        adapter.lora_down.requires_grad_(not options.freeze_down)
        return adapter

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        return cls(*read_thin(shape, tensors)).read_dora(shape, tensors)

    @property
    def rank(self) -> int:
        return self.lora_down.weight.shape[0]

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.lora_down.weight, self.lora_up.weight * self.scale

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.lora_up.weight]

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.state_dict())
