"""The memory of a network's frozen weights."""

from __future__ import annotations

from collections.abc import Container
from math import ceil

from engine.memory.sketch import Sketch
from engine.memory.values import Block

SMALLEST = 4096
"""Matrices with fewer numbers are not quantised."""
BITS = {"nf4": 4 + 8 / 64 + 32 / (64 * 256), "int8": 8.0, "fp8": 8.0}
"""`model.quantization` -> bits of a number: NF4 has a scale of 8 bits for 64 numbers, and one of 32 for 256 scales."""


def parameters(sketch: Sketch) -> int:
    """How many numbers a network has."""
    return sum(weight.matrix + weight.others for block in sketch.blocks for weight in block.weights.values())


def weight_bytes(sketch: Sketch, width: int, quantization: str = "none", streamed: Container[str] = ()) -> int:
    """Bytes of a network on the device.

    Args:
        width: bytes of a number that is not quantised.
        streamed: names of the blocks that lie in main memory; two places take turns for them.
    """
    sizes = {block.name: block_bytes(block, width, quantization) for block in sketch.blocks}
    away = [size for name, size in sizes.items() if name in streamed]
    return sum(sizes.values()) - sum(away) + 2 * max(away, default=0)


def block_bytes(block: Block, width: int, quantization: str) -> int:
    total = 0.0
    for weight in block.weights.values():
        small = quantization == "none" or weight.matrix < SMALLEST
        total += weight.others * width + weight.matrix * (width if small else BITS[quantization] / 8)
    return ceil(total)


def dequantised(sketch: Sketch, width: int, quantization: str) -> int:
    """Bytes of the largest matrix as it is multiplied: one at a time."""
    if quantization == "none":
        return 0
    return width * max((weight.matrix for block in sketch.blocks for weight in block.weights.values()), default=0)
