"""What the table says of an adapter, held against the adapter itself: every algorithm on every kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters import ADAPTERS
from engine.adapters.adalora import Adalora
from engine.adapters.base import Adapter
from engine.adapters.layers import base_tensors
from engine.config.adapter import (
    AdaloraOptions,
    ArdLoraOptions,
    BoftOptions,
    LoraOptions,
    MissOptions,
    NormOptions,
    OftOptions,
    TloraOptions,
)
from engine.config.layers import LayerShape
from engine.config.tensors import TENSORS, adapter_tensors
from tests.support.adapter_cases import CASES

LAYERS = {
    "linear": lambda: nn.Linear(6, 10),
    "linear without bias": lambda: nn.Linear(6, 10, bias=False),
    "wide linear": lambda: nn.Linear(40, 32),
    "conv 1x1": lambda: nn.Conv2d(6, 10, 1),
    "conv 3x3": lambda: nn.Conv2d(6, 10, 3),
    "conv 3x3 without bias": lambda: nn.Conv2d(12, 16, 3, bias=False),
    "layer norm": lambda: nn.LayerNorm(6),
    "group norm": lambda: nn.GroupNorm(2, 6),
    "norm without bias": lambda: nn.LayerNorm(6, bias=False),
}
HEADS = {"one head": (1, "outputs"), "outputs": (2, "outputs"), "inputs": (2, "inputs")}


def make(case: str, kind: str, heads: str = "one head") -> tuple[LayerShape, Adapter]:
    options, layer = CASES[case], LAYERS[kind]()
    shape = LayerShape.of(layer, *HEADS[heads])  # type: ignore[arg-type]
    return shape, ADAPTERS[options.kind].create(shape, base_tensors(layer), options, torch.Generator().manual_seed(0))  # type: ignore[attr-defined]


def pairs() -> list[tuple[str, str]]:
    shapes = {kind: LayerShape.of(layer()) for kind, layer in LAYERS.items()}
    return [(case, kind) for case, o in CASES.items() for kind, shape in shapes.items() if ADAPTERS[o.kind].adapts(shape)]  # type: ignore[attr-defined]


def test_every_algorithm_is_in_the_table() -> None:
    assert TENSORS.keys() == ADAPTERS.keys()


@pytest.mark.parametrize(("case", "kind"), pairs(), ids=str)
def test_the_table_says_what_the_adapter_is(case: str, kind: str) -> None:
    shape, adapter = make(case, kind)
    told = adapter_tensors(shape, CASES[case])
    learnt = {name: parameter for name, parameter in adapter.named_parameters() if parameter.requires_grad}
    assert told.learnt == {name: tuple(parameter.shape) for name, parameter in learnt.items()}
    assert told.parameters == sum(parameter.numel() for parameter in learnt.values())
    if isinstance(adapter, Adalora):  # as it is at the end, where every layer keeps the same share
        adapter.values.data[: round(CASES[case].budget * len(adapter.values))] = 1  # type: ignore[attr-defined]
    assert told.written == {name: tuple(tensor.shape) for name, tensor in adapter.tensors().items()}


@pytest.mark.parametrize("heads", HEADS)
def test_heads_count(heads: str) -> None:
    shape, adapter = make("ard_lora", "linear", heads)
    assert adapter_tensors(shape, CASES["ard_lora"]).learnt["scales"] == tuple(adapter.scales.shape) == (HEADS[heads][0],)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", LAYERS)
def test_the_size_of_a_layer_follows_from_its_weight(kind: str) -> None:
    layer = LAYERS[kind]()
    assert LayerShape.of(layer) == LayerShape.of_weight(tuple(layer.weight.shape), layer.bias is not None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        (LoraOptions(rank=8, initial="pissa"), LayerShape(4, 64, (3, 3))),
        (LoraOptions(rank=8, initial="olora"), LayerShape(64, 4)),
        (TloraOptions(rank=8), LayerShape(4, 64)),
        (AdaloraOptions(rank=8), LayerShape(4, 64)),
        (MissOptions(rank=8), LayerShape(64, 4)),
        (OftOptions(), LayerShape(1, 64)),
        (BoftOptions(), LayerShape(15, 64)),
        (ArdLoraOptions(), LayerShape(10, 64, heads=3)),
        (LoraOptions(), LayerShape(64, 0)),
        (NormOptions(), LayerShape(64, 64)),
    ],
    ids=str,
)
def test_the_table_refuses_what_the_algorithm_refuses(options, shape: LayerShape) -> None:
    with pytest.raises(ValueError) as told:
        adapter_tensors(shape, options)
    algorithm = ADAPTERS[options.kind]
    if algorithm.adapts(shape):
        base = {"weight": torch.randn(shape.weight)}
        with pytest.raises(ValueError) as made:
            algorithm.create(shape, base, options, torch.Generator().manual_seed(0))
        assert str(told.value) == str(made.value)
