"""The tensors that an adapter of each kind learns and writes for a layer, told by their sizes alone.

The tests hold this table against the algorithms themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from engine.config.adapter import (
    AdaloraOptions,
    BoftOptions,
    FullOptions,
    GloraOptions,
    Ia3Options,
    LohaOptions,
    LokrOptions,
    LoraOptions,
    OftOptions,
)
from engine.config.layers import LayerShape
from engine.config.sizes import (
    FROM_WEIGHT,
    Sizes,
    boft_size,
    check_rank,
    check_shards,
    dora_size,
    glora_sizes,
    head_count,
    ia3_size,
    loha_sizes,
    lokr_sizes,
    lora_sizes,
    oft_size,
    rescale_size,
    thin_rank,
    thin_sizes,
)

ALPHA: Sizes = {"alpha": ()}


@dataclass(frozen=True)
class AdapterTensors:
    """Attributes:
    learnt: parameter -> size.
    written: suffix on disk -> size, at the end of a run; at most that, where an algorithm finds its rank by itself.
    """

    learnt: Sizes
    written: Sizes

    @property
    def parameters(self) -> int:
        return sum(map(prod, self.learnt.values()))


def adapter_tensors(shape: LayerShape, options: Any) -> AdapterTensors:
    """What an adapter with these options is for a layer.

    Raises:
        ValueError: the options do not fit the layer; the text says how.
    """
    if shape.norm != (options.kind == "norm"):
        raise ValueError(f"{options.kind} does not exist for such a layer")
    return TENSORS[options.kind](shape, options)


def _same(sizes: Sizes) -> AdapterTensors:
    """What is learnt is what is written, with an alpha."""
    return AdapterTensors(sizes, sizes | ALPHA)


def _lora(shape: LayerShape, options: LoraOptions) -> AdapterTensors:
    rank, _ = thin_rank(shape, options)
    dora = dora_size(shape, options.decompose)
    if options.initial in FROM_WEIGHT:
        check_rank(rank, *_matrix(shape))
        return AdapterTensors(lora_sizes(shape, rank) | dora, lora_sizes(shape, 2 * rank) | dora | ALPHA)
    sizes = lora_sizes(shape, rank, options.tucker and shape.spatial) | dora
    frozen = ("lora_down.weight",) if options.freeze_down else ()
    return AdapterTensors({name: size for name, size in sizes.items() if name not in frozen}, sizes | ALPHA)


def _dylora(shape: LayerShape, options: Any) -> AdapterTensors:
    return _same(lora_sizes(shape, thin_rank(shape, options)[0]))


def _adalora(shape: LayerShape, options: AdaloraOptions) -> AdapterTensors:
    """Which layers keep their ranks the run decides; the budget is what they keep altogether."""
    rank, _ = thin_rank(shape, options)
    check_rank(rank, *_matrix(shape))
    left = max(1, round(options.budget * rank))
    return AdapterTensors(lora_sizes(shape, rank) | {"values": (rank,)}, lora_sizes(shape, left) | ALPHA)


def _ard_lora(shape: LayerShape, options: Any) -> AdapterTensors:
    sizes = lora_sizes(shape, thin_rank(shape, options)[0])
    return AdapterTensors(sizes | {"scales": (head_count(shape),)}, sizes | ALPHA)


def _tlora(shape: LayerShape, options: Any) -> AdapterTensors:
    rank, _ = thin_rank(shape, options)
    check_rank(rank, *_matrix(shape))
    return AdapterTensors(lora_sizes(shape, rank) | {"values": (rank,)}, lora_sizes(shape, 2 * rank) | ALPHA)


def _vera(shape: LayerShape, options: Any) -> AdapterTensors:
    rank, _ = thin_rank(shape, options)
    return AdapterTensors({"vera_lambda_d": (rank,), "vera_lambda_b": (shape.outputs,)}, lora_sizes(shape, rank) | ALPHA)


def _miss(shape: LayerShape, options: Any) -> AdapterTensors:
    rank, _ = thin_rank(shape, options)
    check_shards(rank, shape)
    return AdapterTensors({"miss_block": (rank, shape.outputs)}, lora_sizes(shape, rank) | ALPHA)


def _hira(shape: LayerShape, options: Any) -> AdapterTensors:
    return _same(dict(zip(("hira_A", "hira_B"), thin_sizes(shape, thin_rank(shape, options)[0]), strict=True)))


def _delora(shape: LayerShape, options: Any) -> AdapterTensors:
    rank, _ = thin_rank(shape, options)
    down, up = thin_sizes(shape, rank)
    return AdapterTensors({"delora_A": down, "delora_B": up, "delora_lambda": (1,)}, lora_sizes(shape, rank) | ALPHA)


def _loha(shape: LayerShape, options: LohaOptions) -> AdapterTensors:
    sizes = loha_sizes(shape, thin_rank(shape, options)[0], options.tucker and shape.spatial)
    return _same(sizes | dora_size(shape, options.decompose))


def _lokr(shape: LayerShape, options: LokrOptions) -> AdapterTensors:
    return _same(lokr_sizes(shape, thin_rank(shape, options)[0], options) | dora_size(shape, options.decompose))


def _glora(shape: LayerShape, options: GloraOptions) -> AdapterTensors:
    return _same(glora_sizes(shape, options.rank))


def _oft(shape: LayerShape, options: OftOptions | BoftOptions) -> AdapterTensors:
    blocks = oft_size(shape.outputs, options) if isinstance(options, OftOptions) else boft_size(shape.outputs, options)
    return _same({"oft_blocks": blocks} | ({"rescale": rescale_size(shape)} if options.rescaled else {}))


def _ia3(shape: LayerShape, options: Ia3Options) -> AdapterTensors:
    sizes: Sizes = {"weight": ia3_size(shape, options.side == "input")}
    return AdapterTensors(sizes, sizes | {"on_input": ()})


def _full(shape: LayerShape, options: FullOptions) -> AdapterTensors:
    sizes: Sizes = {"diff": shape.weight} | ({"diff_b": (shape.outputs,)} if shape.bias and options.train_bias else {})
    return AdapterTensors(sizes, sizes)


def _norm(shape: LayerShape, options: Any) -> AdapterTensors:
    sizes: Sizes = {"w_norm": shape.weight} | ({"b_norm": (shape.outputs,)} if shape.bias else {})
    return AdapterTensors(sizes, sizes)


def _matrix(shape: LayerShape) -> tuple[int, int]:
    """Rows and columns of the weight: a convolution counts as (out, in * k * k)."""
    return shape.outputs, prod(shape.weight[1:])


TENSORS: dict[str, Callable[[LayerShape, Any], AdapterTensors]] = {
    "lora": _lora, "loha": _loha, "lokr": _lokr, "glora": _glora, "oft": _oft, "boft": _oft, "ia3": _ia3, "full": _full,
    "norm": _norm, "dylora": _dylora, "adalora": _adalora, "ard_lora": _ard_lora, "tlora": _tlora, "vera": _vera,
    "miss": _miss, "hira": _hira, "delora": _delora,
}  # fmt: skip
"""Algorithm -> what its adapters are."""
