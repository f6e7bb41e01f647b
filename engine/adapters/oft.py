"""OFT: output channels rotated in blocks, each block by a rotation of its own (Diag-OFT; with a constraint COFT).

Qiu et al. 2023, "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", section 3. The paper and PEFT rotate what a
layer's neurons look at, its inputs; here, as in Kohya's OFT and LyCORIS' Diag-OFT, it is the outputs: rows k of the weight
become R_k^T W_k, with R_k of `engine.adapters.rotation`. These two differ in what `dim` means (number of blocks; size of a
block) and in the prefix of module names, not in what a file holds: the shape of `oft_blocks`, (blocks, b, b), says all, and
LyCORIS alone has `rescale`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from engine.adapters.base import LayerShape
from engine.adapters.layers import Base
from engine.adapters.rotation import Rotation, cayley_change, new_rescale, read_rotation
from engine.config.adapter import OftOptions
from engine.config.sizes import oft_size


class Oft(Rotation):
    """`oft_blocks` is (blocks, b, b)."""

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: OftOptions, generator: torch.Generator) -> Self:
        blocks = torch.zeros(oft_size(shape.outputs, options))
        return cls(blocks, options.constraint, new_rescale(shape, options.rescaled), options.module_dropout)

    @classmethod
    def from_tensors(cls, shape: LayerShape, tensors: Mapping[str, Tensor]) -> Self:
        return cls(*read_rotation(shape, tensors, 3))

    def turned(self, rows: Tensor) -> Tensor:
        change = cayley_change(self.oft_blocks, self.bound).to(rows.dtype)
        return (change.mT @ rows.unflatten(0, change.shape[:2])).flatten(0, 1)
