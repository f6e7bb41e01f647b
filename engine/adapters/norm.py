"""Scale and shift of normalisation layers (LayerNorm, GroupNorm), as LyCORIS' `train_norm` learns and writes them.

w' = w + w_norm, b' = b + b_norm. It is what `train_norms` adds to any algorithm.
"""

from __future__ import annotations

from typing import Self

import torch

from engine.adapters.base import LayerShape
from engine.adapters.full import Difference
from engine.adapters.layers import Base
from engine.config.adapter import NormOptions


class Norm(Difference):
    suffixes = ("w_norm", "b_norm")
    places = {"w_norm": "weight", "b_norm": "bias"}

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: NormOptions, generator: torch.Generator) -> Self:
        return cls(cls.zeros(base, "weight", "bias"), options.module_dropout)

    @classmethod
    def adapts(cls, shape: LayerShape) -> bool:
        return shape.norm
