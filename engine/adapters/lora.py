"""LoRA: the change of a weight as the product of two thin matrices.

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3: W' = W + (alpha / rank) * up @ down. On
convolutions as in LoCon: down is (rank, in, k, k), up is a 1x1 convolution (out, rank, 1, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.adapters.base import Adapter, Base, LayerShape
from engine.config.adapter import LoraOptions


class Factor(nn.Module):
    """One of the two matrices; a module so that its tensor is named `lora_down.weight` on disk."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)


class Lora(Adapter):
    suffixes = ("lora_down.weight", "lora_up.weight", "alpha")

    def __init__(self, down: Tensor, up: Tensor, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.lora_down, self.lora_up = Factor(down), Factor(up)
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float32))
        self.scale = alpha / down.shape[0]
        self.dropout = dropout
        self._dropout_seed = 0

    @classmethod
    def create(cls, shape: LayerShape, options: LoraOptions, generator: torch.Generator) -> Self:
        rank = options.conv_rank if shape.spatial else options.rank
        alpha = (options.conv_alpha if shape.spatial else options.alpha) or rank
        down = torch.empty(rank, shape.inputs, *shape.kernel)
        nn.init.kaiming_uniform_(down, a=5**0.5, generator=generator)
        up = torch.zeros(shape.outputs, rank, *(1 for _ in shape.kernel))
        return cls(down, up, alpha, options.dropout)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        down, up = tensors["lora_down.weight"].float(), tensors["lora_up.weight"].float()
        rank = down.shape[0]
        # Some programs write 1x1 convolutions as matrices, some Linear layers as 1x1 convolutions.
        wanted = (rank, shape.inputs, *shape.kernel), (shape.outputs, rank, *(1 for _ in shape.kernel))
        for factor, size in ((down, wanted[0]), (up, wanted[1])):
            if factor.numel() != torch.Size(size).numel() or factor.shape[:2] != size[:2]:
                raise ValueError(f"a factor is {tuple(factor.shape)} where {size} is needed")
        return cls(down.reshape(wanted[0]), up.reshape(wanted[1]), float(tensors["alpha"]))

    @property
    def rank(self) -> int:
        return self.lora_down.weight.shape[0]

    def deltas(self, base: Base) -> dict[str, Tensor]:
        down, up = self.lora_down.weight, self.lora_up.weight
        return {"weight": (up.flatten(1) @ down.flatten(1)).view(up.shape[0], *down.shape[1:]) * self.scale}

    def begin_step(self, generator: torch.Generator) -> None:
        if self.dropout:
            self._dropout_seed = int(torch.randint(2**31, (), generator=generator))

    def forward(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Two thin products instead of one wide weight."""
        down, up = self.lora_down.weight, self.lora_up.weight
        x = x.to(down.dtype)
        if isinstance(layer, nn.Conv2d):
            inner = F.conv2d(x, down, None, layer.stride, layer.padding, layer.dilation)
            return F.conv2d(self._dropped(inner), up) * self.scale
        return F.linear(self._dropped(F.linear(x, down)), up) * self.scale

    def _dropped(self, inner: Tensor) -> Tensor:
        """Dropout after `down`, from the step's seed, so that a recomputed forward drops the same activations."""
        if not (self.dropout and self.training):
            return inner
        generator = torch.Generator(inner.device).manual_seed(self._dropout_seed)
        keep = torch.empty(inner.shape, device=inner.device).bernoulli_(1 - self.dropout, generator=generator)
        return inner * keep.to(inner.dtype) / (1 - self.dropout)
