"""(IA)³: one factor per channel, on what goes into a layer or on what comes out of it.

Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning", section 3.3. As in
LyCORIS and AUTOMATIC1111 the file holds w of the factor 1 + w, and the bias is not scaled: W' = (1 + w) W, on rows or, with
`on_input`, on columns. PEFT holds the factor itself and scales the bias too. LyCORIS cannot read its own files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import Base, base_tensors, change_of_output, on_channels, times, without_bias
from engine.config.adapter import Ia3Options
from engine.config.sizes import ia3_size


class Ia3(Adapter):
    """`weight` is (C,), on convolutions (1, C, 1, 1); `on_input` is 0 or 1."""

    suffixes = ("weight", "on_input")

    def __init__(self, weight: Tensor, on_input: bool, module_dropout: float = 0.0) -> None:
        super().__init__(module_dropout)
        self.weight = nn.Parameter(weight)
        self.register_buffer("on_input", torch.tensor(float(on_input)))
        self.axis = 1 if on_input else 0

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: Ia3Options, generator: torch.Generator) -> Self:
        on_input = options.side == "input"
        return cls(torch.zeros(ia3_size(shape, on_input)), on_input, options.module_dropout)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        if missing := set(cls.suffixes) - set(tensors):
            raise ValueError(f"{missing.pop()} is missing")
        weight, on_input = tensors["weight"].float(), bool(tensors["on_input"])
        size = ia3_size(shape, on_input)
        if weight.numel() != torch.Size(size).numel():
            raise ValueError(f"weight is {tuple(weight.shape)} where {size} is needed")
        return cls(weight.reshape(size), on_input)

    def deltas(self, base: Base) -> dict[str, Tensor]:
        weight = base["weight"].to(self.weight.dtype).movedim(self.axis, -1)
        return {"weight": (weight * self.weight.flatten()).movedim(-1, self.axis)}

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """Scales what goes in or comes out; no changed weight is made."""
        factors = on_channels(layer, self.weight, x)
        if self.axis == 0:
            return factors * without_bias(layer, y.to(self.weight.dtype))
        return change_of_output(layer, factors * x, {"weight": base_tensors(layer)["weight"]})

    def add_to(self, y: Tensor, x: Tensor, layer: nn.Module, strength: float) -> Tensor:
        """On outputs y + s w (y - b) in one go: from the bias to y and beyond, by f = 1 + s w."""
        if self.axis == 1:
            return super().add_to(y, x, layer, strength)
        factors = on_channels(layer, 1 + times(strength, self.weight), y)
        if layer.bias is None:
            return (y * factors).to(y.dtype)
        bias = on_channels(layer, layer.bias, y)  # type: ignore[arg-type]
        if y.dtype == factors.dtype == bias.dtype:
            return torch.lerp(bias, y, factors)
        return torch.addcmul(bias - factors * bias, y, factors).to(y.dtype)
