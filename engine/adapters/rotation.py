"""Rotations of a layer's output channels: what OFT and BOFT share.

A block b of parameters gives the skew-symmetric Q = b - b^T, and that the orthogonal R = (I + Q)(I - Q)^-1 (Cayley), in
which the identity is Q = 0; with `rescale`, a factor for each output channel is learnt on top. Rotating outputs is rotating
the rows of the weight, W' = R W, so that training can leave the weight alone and turn what comes out of the layer, without
its bias: W' x - W x = (R - I) W x.

Constrained OFT (COFT): the norm of Q over all blocks of a layer is at most constraint * channels. Kohya's OFT, LyCORIS and
AUTOMATIC1111 read `alpha` so; the paper bounds by the square of the channels, ComfyUI by `alpha` alone. An `alpha` of 0 is
no bound, as in LyCORIS; Kohya's trainer would let nothing turn then, which nobody trains.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.layers import Base, channel_axis, without_bias
from engine.config.sizes import rescale_size


def cayley_change(blocks: Tensor, bound: float = 0.0) -> Tensor:
    """R - I = 2 Q (I - Q)^-1 of each block, (..., b, b), at least float32; exactly zero at Q = 0.

    Args:
        blocks: (..., b, b); only their skew-symmetric part counts.
        bound: largest norm of Q over all blocks together; 0 for none.
    """
    blocks = blocks.to(torch.promote_types(blocks.dtype, torch.float32))
    q = blocks - blocks.mT
    if bound:
        q = q * (bound / (torch.linalg.vector_norm(q) + 1e-8)).clamp(max=1)
    return torch.linalg.solve(torch.eye(q.shape[-1], dtype=q.dtype, device=q.device) - q, 2 * q)


class Rotation(Adapter):
    """Blocks that rotate channels; how they are laid on the channels, an algorithm states in `turned`."""

    suffixes = ("oft_blocks", "rescale", "alpha")

    def __init__(self, blocks: Tensor, constraint: float, rescale: Tensor | None, module_dropout: float = 0.0) -> None:
        super().__init__(module_dropout)
        self.oft_blocks = nn.Parameter(blocks)
        self.rescale: nn.Parameter | None
        self.register_parameter("rescale", None if rescale is None else nn.Parameter(rescale))
        alpha = torch.tensor(constraint, dtype=torch.float32)
        self.register_buffer("alpha", alpha)
        self.bound = float(alpha) * blocks.shape[-3] * blocks.shape[-1]  # as it will be when read from a file

    @abstractmethod
    def turned(self, rows: Tensor) -> Tensor:
        """What the rotation adds to rows, one for each output channel, (C, N) -> (C, N)."""

    def changed(self, rows: Tensor) -> Tensor:
        """What rotation and rescaling add to rows, (C, N) -> (C, N)."""
        turned = self.turned(rows)
        if self.rescale is None:
            return turned
        factors = self.rescale.flatten(1)
        return factors * turned + (factors - 1) * rows

    def deltas(self, base: Base) -> dict[str, Tensor]:
        weight = base["weight"].to(self.oft_blocks.dtype)
        return {"weight": self.changed(weight.flatten(1)).view_as(weight)}

    def forward(self, x: Tensor, y: Tensor, layer: nn.Module) -> Tensor:
        """Turns what comes out of the layer; the weight is not touched."""
        axis = channel_axis(layer)
        plain = without_bias(layer, y.to(self.oft_blocks.dtype)).movedim(axis, 0)
        return self.changed(plain.flatten(1)).view(plain.shape).movedim(0, axis)


def new_rescale(shape: LayerShape, rescaled: bool) -> Tensor | None:
    """Factors of one, (out, 1[, 1, 1]), or None where none are learnt."""
    return torch.ones(rescale_size(shape)) if rescaled else None


def read_rotation(shape: LayerShape, tensors: Mapping[str, Tensor], dims: int) -> tuple[Tensor, float, Tensor | None]:
    """Blocks, constraint and rescale from a file, float32.

    Args:
        dims: dimensions that the blocks must have.

    Raises:
        ValueError: they do not fit the layer.
    """
    if (blocks := tensors.get("oft_blocks")) is None:
        raise ValueError("oft_blocks is missing")
    size = tuple(blocks.shape)
    if len(size) != dims or size[-1] != size[-2] or size[-3] * size[-1] != shape.outputs:
        raise ValueError(f"oft_blocks is {size} where square blocks over {shape.outputs} channels are needed")
    if (rescale := tensors.get("rescale")) is not None:
        if rescale.numel() != shape.outputs:
            raise ValueError(f"rescale is {tuple(rescale.shape)} where {shape.outputs} numbers are needed")
        rescale = rescale.float().reshape(rescale_size(shape))
    return blocks.float(), float(tensors.get("alpha", 0.0)), rescale
