"""The sizes of the tensors that each algorithm learns and writes for a layer.

The algorithms make their tensors by these functions, and the forecast of a run adds them up without PyTorch. What the sizes
mean stands with the algorithms, in `engine.adapters`.
"""

from __future__ import annotations

from math import isqrt, prod
from typing import Any

from engine.config.adapter import BoftOptions, LokrOptions, OftOptions
from engine.config.layers import LayerShape, Size

Sizes = dict[str, Size]

FROM_WEIGHT = ("pissa", "olora")
"""Those `initial` values of LoRA whose product begins as a part of the weight, so that twice its rank is written."""


# ---- two thin factors ----


def thin_rank(shape: LayerShape, options: Any) -> tuple[int, float]:
    """(rank, scale) that the options give a layer; the scale is alpha / rank, or alpha / sqrt(rank) (rsLoRA).

    Kalajdzievski 2023, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", section 3.
    """
    own = shape.spatial and getattr(options, "conv_rank", 0)
    rank = options.conv_rank if own else options.rank
    alpha = (options.conv_alpha if own else options.alpha) or rank
    return rank, alpha / (rank**0.5 if getattr(options, "scaling", "rank") == "root" else rank)


def thin_sizes(shape: LayerShape, rank: int) -> tuple[Size, Size]:
    """Sizes of down and up."""
    return (rank, shape.inputs, *shape.kernel), (shape.outputs, rank, *shape.ones)


def check_rank(rank: int, rows: int, columns: int) -> None:
    """Raises:
    ValueError: a matrix of so many rows and columns has fewer singular vectors.
    """
    if rank > min(rows, columns):
        raise ValueError(f"rank {rank} is more than a weight of {rows} x {columns} has")


def check_shards(rank: int, shape: LayerShape) -> None:
    """Raises:
    ValueError: MiSS cannot cut what the layer looks at into shards of this size.
    """
    if rank > (inputs := prod(shape.weight[1:])):
        raise ValueError(f"rank {rank} is more than its {inputs} inputs")


def lora_sizes(shape: LayerShape, rank: int, split: bool = False) -> Sizes:
    """Size of each factor; `split` is Tucker's decomposition, with the core `lora_mid`."""
    down, up = thin_sizes(shape, rank)
    if not split:
        return {"lora_down.weight": down, "lora_up.weight": up}
    core = {"lora_mid.weight": (rank, rank, *shape.kernel)}
    return {"lora_down.weight": (rank, shape.inputs, *shape.ones), "lora_up.weight": up} | core


def dora_size(shape: LayerShape, decompose: str) -> Sizes:
    """`dora_scale` of weight decomposition, where there is one."""
    sizes = {"outputs": (shape.outputs, 1, *shape.ones), "inputs": (1, shape.inputs, *shape.ones)}
    return {"dora_scale": sizes[decompose]} if decompose != "off" else {}


# ---- LoHa, LoKr, GLoRA ----


def loha_sizes(shape: LayerShape, rank: int, split: bool) -> Sizes:
    """Size of each factor; `split` is Tucker's decomposition, which has the first factors transposed."""
    if split:
        pair = {"a": (rank, shape.outputs), "b": (rank, shape.inputs)}
        cores: Sizes = {f"hada_t{side}": (rank, rank, *shape.kernel) for side in (1, 2)}
    else:
        pair, cores = {"a": (shape.outputs, rank), "b": (rank, shape.inputs * prod(shape.kernel))}, {}
    return {f"hada_w{side}_{end}": size for side in (1, 2) for end, size in pair.items()} | cores


def factorise(size: int, factor: int) -> tuple[int, int]:
    """(a, b) with a * b = size and a <= b, as LyCORIS chooses them.

    Args:
        factor: one of the two where it divides `size`, otherwise the largest that a may be; -1 makes them as equal as can be.
    """
    if factor > 0 and size % factor == 0:
        small = min(factor, size // factor)
    else:
        largest = min(isqrt(size), factor if factor > 0 else size)
        small = next(divisor for divisor in range(largest, 0, -1) if size % divisor == 0)
    return small, size // small


def first_sizes(out: int, inner: int, rank: int | None) -> Sizes:
    """Sizes of LoKr's w1, (out, inner): whole where `rank` is None."""
    return {"lokr_w1": (out, inner)} if rank is None else {"lokr_w1_a": (out, rank), "lokr_w1_b": (rank, inner)}


def second_sizes(out: int, inner: int, kernel: Size, rank: int | None, split: bool) -> Sizes:
    """Sizes of LoKr's w2, (out, inner, *kernel): whole where `rank` is None; `split` is Tucker's decomposition."""
    if rank is None:
        return {"lokr_w2": (out, inner, *kernel)}
    if split:
        return {"lokr_w2_a": (rank, out), "lokr_w2_b": (rank, inner), "lokr_t2": (rank, rank, *kernel)}
    return {"lokr_w2_a": (out, rank), "lokr_w2_b": (rank, inner * prod(kernel))}


def lokr_sizes(shape: LayerShape, rank: int, options: LokrOptions) -> Sizes:
    """Sizes that the options ask for. A matrix is whole where a product of that rank would not be much smaller."""
    (out1, out2), (in1, in2) = (factorise(size, options.factor) for size in (shape.outputs, shape.inputs))
    first = rank if options.decompose_both and rank < max(out1, in1) / 2 else None
    second = rank if not options.full_matrix and rank < max(out2, in2) / 2 else None
    return first_sizes(out1, in1, first) | second_sizes(out2, in2, shape.kernel, second, options.tucker and shape.spatial)


def glora_sizes(shape: LayerShape, rank: int, split: bool = False) -> Sizes:
    """Size of each factor; `split` is Tucker's decomposition of B."""
    sizes = {
        "a1.weight": (shape.inputs, rank, *shape.ones),
        "a2.weight": (rank, shape.inputs, *shape.ones),
        "b1.weight": (shape.outputs, rank, *shape.ones),
        "b2.weight": (rank, shape.inputs, *(shape.ones if split else shape.kernel)),
    }
    return sizes | ({"bm.weight": (rank, rank, *shape.kernel)} if split else {})


# ---- rotations and scales ----


def oft_block(channels: int, options: OftOptions) -> int:
    """The largest divisor of `channels` up to `options.block_size`, at least 2; where there is none, the next larger.

    With `options.blocks`, the smallest that makes no more blocks than that.

    Raises:
        ValueError: there is only one channel.
    """
    sizes = [size for size in range(2, channels + 1) if channels % size == 0]
    if not sizes:
        raise ValueError("a single output channel cannot be rotated")
    if options.blocks:
        return next(size for size in sizes if channels // size <= options.blocks)
    return next((size for size in reversed(sizes) if size <= options.block_size), sizes[0])


def oft_size(channels: int, options: OftOptions) -> Size:
    """(blocks, b, b)."""
    size = oft_block(channels, options)
    return channels // size, size, size


def boft_block(channels: int, wanted: int) -> int:
    """The size nearest to `wanted` that connects all channels, or, where that is more than twice it, any nearest even divisor.

    Raises:
        ValueError: the number of channels is odd.
    """
    sizes = [size for size in range(2, channels + 1, 2) if channels % size == 0]
    if not sizes:
        raise ValueError(f"BOFT needs an even number of output channels, here are {channels}")
    connecting = [size for size in sizes if (number := channels // size) & (number - 1) == 0]
    nearest = min(connecting, key=lambda size: abs(size - wanted))
    return nearest if nearest <= 2 * wanted else min(sizes, key=lambda size: abs(size - wanted))


def boft_size(channels: int, options: BoftOptions) -> Size:
    """(stages, blocks, b, b)."""
    size = boft_block(channels, options.block_size)
    most = most_stages(channels // size)
    return min(options.factors or most, most), channels // size, size, size


def most_stages(blocks: int) -> int:
    """How many stages a number of blocks allows: stage i needs pairs that are 2^i blocks apart, beginning within a block."""
    return (blocks & -blocks).bit_length()


def ia3_size(shape: LayerShape, on_input: bool) -> Size:
    """Size of `weight` on disk."""
    channels = shape.inputs if on_input else shape.outputs
    return (1, channels, *shape.ones) if shape.kernel else (channels,)


def rescale_size(shape: LayerShape) -> Size:
    """Size of `rescale`, one factor for each output channel."""
    return (shape.outputs, *(1 for _ in shape.weight[1:]))


def head_count(shape: LayerShape) -> int:
    """Raises:
    ValueError: the layer's channels cannot be shared out to its heads.
    """
    if (width := getattr(shape, shape.head_axis)) % shape.heads:
        raise ValueError(f"{width} {shape.head_axis} cannot be cut into {shape.heads} heads")
    return shape.heads
