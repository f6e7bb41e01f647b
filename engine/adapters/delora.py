"""DeLoRA: a sum of rank-one directions of unit size under one learnt strength, so that the change is bounded by it.

Bini et al. 2025, "DeLoRA: Decoupling Angles and Strength in Low-rank Adaptation", as PEFT has it:
dW = s (lambda / r) B diag(1 / (|b_i| |a_i|)) A diag(w), with w the norms of the base weight's columns, taken once at the start.
B begins at zero, where norms count as 1e-4; since only its direction counts from there on, the first step already goes to the
bound, however small the learning rate. PEFT has no scale s, which is alpha = rank here. On convolutions a column is one
of the in * k * k numbers that an output sees. The finished adapter is a plain LoRA and saved as one.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.factored import magnitude
from engine.adapters.layers import Base
from engine.adapters.thin import Thin, random_down, thin_common
from engine.config.adapter import DeloraOptions
from engine.config.sizes import thin_rank, thin_sizes

SMALLEST_NORM = 1e-4


class Delora(Thin):
    """`delora_A` is (rank, in[, k, k]), `delora_B` (out, rank[, 1, 1]), `delora_lambda` (1,), `delora_w_norm` (in[, k, k])."""

    def __init__(self, down: Tensor, up: Tensor, strength: float, norms: Tensor, scale: float, **common: float) -> None:
        super().__init__(**common)
        self.delora_A, self.delora_B = nn.Parameter(down), nn.Parameter(up)
        self.delora_lambda = nn.Parameter(torch.tensor([strength]))
        self.register_buffer("delora_w_norm", norms)
        self.scale = scale

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: DeloraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        norms = torch.linalg.vector_norm(base["weight"].detach().float().cpu(), dim=0)
        up = torch.zeros(thin_sizes(shape, rank)[1])
        return cls(random_down(shape, rank, generator), up, options.strength, norms, scale, **thin_common(options))

    def factors(self) -> tuple[Tensor, Tensor]:
        down, up = self.delora_A, self.delora_B
        sizes = magnitude(down, 0).flatten().clamp_min(SMALLEST_NORM) * magnitude(up, 1).flatten().clamp_min(SMALLEST_NORM)
        strengths = self.delora_lambda * (self.scale / len(down)) / sizes
        return down * self.delora_w_norm, up * strengths.view(-1, *(1 for _ in up.shape[2:]))  # type: ignore[operator]

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.delora_lambda]

    def up_factors(self) -> list[nn.Parameter]:
        return [self.delora_B]
