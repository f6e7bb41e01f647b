"""VeRA: two vectors per layer around random factors that never learn and that all layers of a shape share.

Kopiczko et al. 2023, "VeRA: Vector-based Random Matrix Adaptation", equation 2: dW = s diag(b) B diag(d) A, with b beginning at
zero and d at 0.1. Initial values as in PEFT; there the largest layer's A and B are cut to fit the others, here each shape has
its own, from the run's seed, so that they need not be saved to go on with a run. PEFT has no scale, which is alpha = rank here.
The finished adapter is a plain LoRA and saved as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base
from engine.adapters.thin import Thin, thin_common
from engine.config.adapter import VeraOptions
from engine.config.sizes import thin_rank, thin_sizes

_SHARED: WeakValueDictionary[tuple, Tensor] = WeakValueDictionary()
"""The random factors in use, gone with the last adapter that uses them."""


class Vera(Thin):
    """`vera_lambda_d` is d, (rank,); `vera_lambda_b` is b, (out,)."""

    def __init__(self, shape: LayerShape, rank: int, scale: float, seed: int, **common: float) -> None:
        super().__init__(**common)
        self.vera_lambda_d = nn.Parameter(torch.full((rank,), 0.1))
        self.vera_lambda_b = nn.Parameter(torch.zeros(shape.outputs))
        self.sizes, self.scale, self.seed = thin_sizes(shape, rank), scale, seed
        self.frozen = self._frozen()

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: VeraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        return cls(shape, rank, scale, generator.initial_seed(), **thin_common(options))

    def _frozen(self) -> tuple[Tensor, Tensor]:
        """A and B, where and as the vectors are."""
        down, up = (shared_random(size, self.seed + side, self.vera_lambda_d) for side, size in enumerate(self.sizes))
        return down, up

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """The random factors follow the vectors to another device or format, and are shared there again."""
        super()._apply(fn, recurse)
        self.frozen = self._frozen()
        return self

    def factors(self) -> tuple[Tensor, Tensor]:
        down, up = self.frozen
        d, b = (vector.view(-1, *(1 for _ in down.shape[1:])) for vector in (self.vera_lambda_d, self.vera_lambda_b * self.scale))
        return d * down, b * up

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.vera_lambda_b]


def shared_random(size: tuple[int, ...], seed: int, like: Tensor) -> Tensor:
    """Kaiming-uniform numbers of a seed, always the same, and the same memory for as long as someone holds it.

    Args:
        like: gives device and number format.
    """
    key = (size, seed, like.device, like.dtype)
    if (tensor := _SHARED.get(key)) is None:
        tensor = torch.empty(size)
        nn.init.kaiming_uniform_(tensor, generator=torch.Generator().manual_seed(seed))
        _SHARED[key] = tensor = tensor.to(like)
    return tensor
