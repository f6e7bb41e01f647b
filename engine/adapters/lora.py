"""LoRA: the change of a weight as the product of two thin matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3: W' = W + (alpha / rank) * up @ down. With
`freeze_down` it is LoRA-FA (Zhang et al. 2023, arXiv 2308.03303): only up learns. With `tucker`, the down of a convolution is
itself a product: a 1x1 convolution and the core `lora_mid`, (rank, rank, k, k).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.factored import fitted, leading
from engine.adapters.initial import INITIAL
from engine.adapters.layers import Base
from engine.adapters.shifted import Shifted
from engine.adapters.thin import Factor, Thin, random_down, thin_common
from engine.adapters.tucker import core_on, point
from engine.config.adapter import LoraOptions
from engine.config.sizes import FROM_WEIGHT, lora_sizes, thin_rank


class Lora(Thin):
    suffixes = (*Thin.suffixes, "lora_mid.weight", "dora_scale")

    def __init__(self, down: Tensor, up: Tensor, alpha: float, mid: Tensor | None = None, **common: float) -> None:
        super().__init__(**common)
        self.lora_down, self.lora_up = Factor(down), Factor(up)
        self.lora_mid = None if mid is None else Factor(mid)
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / down.shape[0]

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: LoraOptions, generator: torch.Generator) -> Self:
        """What begins as a part of the weight is a `Shifted`, saved at twice the rank."""
        if options.initial in FROM_WEIGHT:
            return Shifted.create(shape, base, options, generator)  # type: ignore[return-value]
        rank, scale = thin_rank(shape, options)
        split = options.tucker and shape.spatial
        down, up = INITIAL[options.initial](point(shape) if split else shape, base, rank, scale, generator)
        mid = random_down(replace(shape, inputs=rank), rank, generator) if split else None
        adapter = cls(down, up, scale * rank, mid, **thin_common(options)).decompose(base, options.decompose)
        adapter.lora_down.requires_grad_(not options.freeze_down)
        return adapter

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        sizes = lora_sizes(shape, leading(tensors, "lora_down.weight"), "lora_mid.weight" in tensors)
        down, up, *mid = fitted(tensors, sizes).values()
        return cls(down, up, float(tensors["alpha"]), *mid).read_dora(shape, tensors)

    @property
    def rank(self) -> int:
        return self.lora_down.weight.shape[0]

    def factors(self) -> tuple[Tensor, Tensor]:
        down, up = self.lora_down.weight, self.lora_up.weight
        if self.lora_mid is not None:
            down = core_on(self.lora_mid.weight, down.flatten(1))
        return down, up if self.scale == 1 else up * self.scale

    def own_down(self) -> nn.Parameter | None:
        # Weight decomposition by inputs stretches what goes in, for each layer differently.
        return self.lora_down.weight if self.dora_scale is None or self.dora_scale.shape[0] > 1 else None

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.lora_up.weight]

    def tensors(self) -> dict[str, Tensor]:
        return dict(self.state_dict())
