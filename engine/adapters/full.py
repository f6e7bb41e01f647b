"""Full fine-tuning as an adapter: the whole difference of weight and bias (LyCORIS' "full", native fine-tuning).

W' = W + diff, b' = b + diff_b. Nothing of the base is kept, so that strength, stacking and removal work as for every other
algorithm, and what is loaded is the difference once; LyCORIS adds it twice when it goes on with its own file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import Base
from engine.config.adapter import FullOptions


class Difference(Adapter):
    """A change that is its own parameters, by the names in `places`; a layer or a file may have only some of them."""

    places: ClassVar[Mapping[str, str]]
    """Suffix on disk -> the tensor of the layer that it changes."""

    def __init__(self, differences: Mapping[str, Tensor], module_dropout: float = 0.0) -> None:
        super().__init__(module_dropout)
        for suffix, difference in differences.items():
            self.register_parameter(suffix, nn.Parameter(difference))

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        sizes = {"weight": shape.weight, "bias": (shape.outputs,)}
        for suffix, tensor in tensors.items():
            place = cls.places[suffix]
            if place == "bias" and not shape.bias:
                raise ValueError(f"{suffix} changes a bias, which the layer does not have")
            if tuple(tensor.shape) != sizes[place]:
                raise ValueError(f"{suffix} is {tuple(tensor.shape)} where {sizes[place]} is needed")
        return cls({suffix: tensor.float() for suffix, tensor in tensors.items()})

    def deltas(self, base: Base) -> dict[str, Tensor]:
        return {self.places[suffix]: difference for suffix, difference in self.named_parameters()}

    @classmethod
    def zeros(cls, base: Base, *places: str) -> dict[str, Tensor]:
        """Differences that change nothing, for those of `places` that the layer has."""
        sizes = {place: base[place].shape for place in places if place in base}
        return {suffix: torch.zeros(sizes[place]) for suffix, place in cls.places.items() if place in sizes}


class Full(Difference):
    suffixes = ("diff", "diff_b")
    places = {"diff": "weight", "diff_b": "bias"}

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: FullOptions, generator: torch.Generator) -> Self:
        places = ("weight", "bias") if options.train_bias else ("weight",)
        return cls(cls.zeros(base, *places), options.module_dropout)
