"""BOFT: output channels rotated through a butterfly of small blocks, so that every channel reaches every other.

Liu et al. 2024, "Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization", section 4: W' = R_m ... R_1 W, each R_i
a block-diagonal rotation (see `engine.adapters.rotation`) between two permutations. Outputs rotate, as in LyCORIS: a block of b
channels of stage i, counted from 0, takes two runs of b / 2 channels that are 2^i * b / 2 apart, so that m stages connect
2^(m - 1) blocks. At other strengths than 1, LyCORIS and ComfyUI weaken each stage; here it is W + s * (W' - W) as for every
algorithm.

LyCORIS needs a power of two of blocks and refuses other widths (640 in blocks of 8). Where no such size is near, a layer
gets as many stages as its width allows, which connect its channels in groups; ComfyUI and AUTOMATIC1111 read that too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import Base, channel_axis
from engine.adapters.rotation import Rotation, cayley_change, new_rescale, read_rotation
from engine.config.adapter import BoftOptions
from engine.config.sizes import boft_size, most_stages


class Boft(Rotation):
    """`oft_blocks` is (stages, blocks, b, b)."""

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: BoftOptions, generator: torch.Generator) -> Self:
        blocks = torch.zeros(boft_size(shape.outputs, options))
        return cls(blocks, options.constraint, new_rescale(shape, options.rescaled), options.module_dropout)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        blocks, constraint, rescale = read_rotation(shape, tensors, 4)
        stages, number, size, _ = blocks.shape
        if size % 2 or not 1 <= stages <= most_stages(number):
            raise ValueError(f"oft_blocks is {tuple(blocks.shape)}, which is no butterfly over {shape.outputs} channels")
        return cls(blocks, constraint, rescale)

    def turned(self, rows: Tensor) -> Tensor:
        channels, columns = rows.shape
        if columns > channels:  # one matrix for all of them is made sooner
            return self.turned(torch.eye(channels, dtype=rows.dtype, device=rows.device)) @ rows
        turns = self._turns().to(rows.dtype)
        size, turning = turns.shape[-1], rows
        for stage, turn in enumerate(turns):
            # At stage i rows lie as (..., distance 2^i, half 2, b / 2), so that blocks are contiguous; the half of one stage
            # is the highest bit of the distance at the next.
            if stage:
                turning = turning.view(-1, 2, 2 ** (stage - 1), 2, size // 2, columns).transpose(1, 3)
            blocks = turning.reshape(-1, size, columns)
            turning = blocks + turn @ blocks
        furthest = 2 ** (len(turns) - 1)
        return turning.view(-1, furthest, 2, size // 2, columns).transpose(1, 2).reshape(rows.shape) - rows

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """Turns what comes out of the layer, or its weight where that has fewer columns."""
        axis = channel_axis(layer)
        columns = x.shape[axis] * math.prod(getattr(layer, "kernel_size", ()))
        if columns < min(y.shape[axis], y.numel() // y.shape[axis]):
            return Adapter.forward(self, x, y, layer)
        return super().forward(x, y, layer)

    def _turns(self) -> Tensor:
        """R - I of every block, (stages, blocks, b, b). On disk the two halves of a block alternate; here one follows the other."""
        change = cayley_change(self.oft_blocks, self.bound)
        halves = change.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
        return halves.transpose(-1, -2).transpose(-3, -4).flatten(-4, -3).flatten(-2)
