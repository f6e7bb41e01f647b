"""A product that does not begin at zero, less what it began as: PiSSA and OLoRA, and the ground of T-LoRA.

The change s (B A - B0 A0) is written as s ((B - B0) A + B0 (A - A0)): a plain LoRA of twice the rank, whose halves are zero at
the start. It is the same, but nothing large cancels in it, so that it stays exact in half precision, in the forward of mixed
precision as in the file, where B0 A0, a part of the weight, would drown the change in its rounding.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.initial import INITIAL
from engine.adapters.layers import Base
from engine.adapters.thin import Factor, Thin, thin_common
from engine.config.adapter import LoraOptions
from engine.config.sizes import thin_rank


class Shifted(Thin):
    """LoRA from anywhere. `first_down` and `first_up` are the factors it began with, every scale multiplied in."""

    suffixes = (*Thin.suffixes, "dora_scale")

    def __init__(self, down: Tensor, up: Tensor, scale: float, **common: float) -> None:
        super().__init__(**common)
        self.lora_down, self.lora_up, self.scale = Factor(down), Factor(up), scale
        self.register_buffer("first_down", down.clone())
        self.register_buffer("first_up", up * scale)

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: LoraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        factors = INITIAL[options.initial](shape, base, rank, scale, generator)
        return cls(*factors, scale, **thin_common(options)).decompose(base, options.decompose)

    def product(self) -> tuple[Tensor, Tensor]:
        """The factors as they are now, every scale multiplied in, in the order that `first_up` was made in."""
        return self.lora_down.weight, self.lora_up.weight * self.scale

    def factors(self) -> tuple[Tensor, Tensor]:
        down, up = self.product()
        return torch.cat([down, down - self.first_down]), torch.cat([up - self.first_up, self.first_up], 1)  # type: ignore[list-item, operator]

    def kept(self, count: int) -> Tensor | None:
        """A rank is dropped in both halves."""
        kept = super().kept(count // 2)
        return None if kept is None else kept.repeat(2)

    def up_factors(self) -> list[nn.Parameter]:
        return [self.lora_up.weight]
