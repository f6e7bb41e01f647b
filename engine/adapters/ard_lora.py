"""ARD-LoRA: every attention head finds its own rank.

Shinwari and Usama 2025, "ARD-LoRA: Dynamic Rank Allocation for Parameter-Efficient Fine-Tuning of Foundation Models with
Heterogeneous Adaptation Needs" (arXiv 2506.18267). A head h of layer l has the rank r = r0 * a, where its scale a is learnt;
the loss gets sparsity * (|a| + variation * |a - a before the last step|), the L1 norm and the total variation over time.
There is no code by the authors; the choices that the paper leaves open are made as follows.

* The rank is continuous: of r0 components, number i has the weight clamp(r0 * a - i, 0, 1), so that the last one fades in or
  out and the gradient of the loss says whether the head needs it. Scales begin at 1 and stay between 0 and 1, so that `rank`
  is the most that a head can have. At 0 there is no gradient: a head that has come so far is pruned for good.
* All heads of a layer share one `down`, and each has its own rows of `up`, which its weights multiply. For the way out of an
  attention, where a head owns inputs, it is the other way about: a shared `up`, and columns of `down`. Either way the change
  is one product of two factors, and the file a plain LoRA, from which components that no head uses are cut. A layer that has
  none left keeps one, zero, which every program reads. Layers without heads have one scale.
* The penalty is a mean over heads and layers, so that `sparsity` means the same for small and large models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape, ParamGroup
from engine.adapters.layers import Base
from engine.adapters.thin import Factor, Thin, random_down, thin_common
from engine.config.adapter import ArdLoraOptions
from engine.config.sizes import head_count, thin_rank, thin_sizes


class ArdLora(Thin):
    """
    Attributes:
        scales: a of the paper, (heads,).
        scales_before: these before the last step.
    """

    scales_before: Tensor

    def __init__(self, down: Tensor, up: Tensor, scale: float, shape: LayerShape, options: ArdLoraOptions) -> None:
        super().__init__(**thin_common(options))
        self.lora_down, self.lora_up = Factor(down), Factor(up)
        self.scales = nn.Parameter(torch.ones(head_count(shape)))
        self.register_buffer("scales_before", torch.ones(shape.heads))
        self.scale, self.heads_axis = scale, shape.head_axis
        self.sparsity, self.variation, self.rank_rate = options.sparsity, options.variation, options.rank_rate

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: ArdLoraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        return cls(random_down(shape, rank, generator), torch.zeros(thin_sizes(shape, rank)[1]), scale, shape, options)

    def head_ranks(self) -> Tensor:
        """The rank of each head, which need not be whole, (heads,)."""
        return len(self.lora_down.weight) * self.scales.abs()

    def factors(self) -> tuple[Tensor, Tensor]:
        down, up = self.lora_down.weight, self.lora_up.weight * self.scale
        weights = component_weights(self.head_ranks(), len(down))
        if self.heads_axis == "outputs":
            return down, up * spread(weights, up.shape[0]).T.reshape(up.shape)
        return down * spread(weights, down.shape[1]).reshape(*down.shape[:2], *(1 for _ in down.shape[2:])), up

    def own_down(self) -> nn.Parameter | None:
        return self.lora_down.weight if self.heads_axis == "outputs" else None

    def tensors(self) -> dict[str, Tensor]:
        down, up = self.factors()
        left = max(1, int(self.head_ranks().max().ceil()))
        return {"lora_down.weight": down[:left], "lora_up.weight": up[:, :left], "alpha": torch.tensor(float(left))}

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.lora_up.weight]

    def param_groups(self) -> list[ParamGroup]:
        down, up = ParamGroup([self.lora_down.weight]), ParamGroup([self.lora_up.weight], up=True)
        return [down, up, ParamGroup([self.scales], self.rank_rate)]

    def penalty(self) -> Tensor | None:
        steps = (self.scales - self.scales_before).abs()
        return self.sparsity * (self.scales.abs() + self.variation * steps).mean() if self.sparsity else None

    @torch.no_grad()
    def after_backward(self) -> None:
        self.scales_before.copy_(self.scales)

    @classmethod
    @torch.no_grad()
    def after_step(cls, adapters: Sequence[Self], step: int, steps: int) -> None:
        for adapter in adapters:
            adapter.scales.clamp_(0, 1)
        super().after_step(adapters, step, steps)


def component_weights(ranks: Tensor, count: int) -> Tensor:
    """How much of each component a head with a continuous rank uses: (heads,) -> (count, heads), from 0 to 1."""
    return (ranks - torch.arange(count, dtype=ranks.dtype, device=ranks.device)[:, None]).clamp(0, 1)


def spread(weights: Tensor, width: int) -> Tensor:
    """From heads to the rows or columns that belong to them: (count, heads) -> (count, width)."""
    return weights.repeat_interleave(width // weights.shape[1], 1)


def head_ranks(adapters: Mapping[str, Adapter]) -> dict[str, list[float]]:
    """Module -> the rank of each head, rounded up to two decimals, for those modules whose heads have their own."""
    return {
        name: [math.ceil(100 * rank) / 100 for rank in adapter.head_ranks().tolist()]
        for name, adapter in adapters.items()
        if isinstance(adapter, ArdLora)
    }
