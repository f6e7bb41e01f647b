"""GLoRA against LyCORIS, its files old and new, and the core that no program has written yet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.glora import Glora
from engine.adapters.layers import base_tensors
from engine.config.adapter import GloraOptions
from tests.support.layers import KINDS, adapted, changed, inputs_of, layer_of, randomised, with_lycoris

RANK, ALPHA = 2, 3.0
kinds = pytest.mark.parametrize("kind", KINDS)


def layer_and_glora(kind: str) -> tuple[nn.Module, Glora]:
    layer = layer_of(kind)
    options = GloraOptions(rank=RANK, alpha=ALPHA)
    return layer, randomised(Glora.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator()))


def with_core(kind: str = "conv 3x3") -> tuple[nn.Module, Glora]:
    layer, ours = layer_and_glora(kind)
    generator = torch.Generator().manual_seed(4)
    b2, bm = torch.randn(RANK, 6, 1, 1, generator=generator), torch.randn(RANK, RANK, 3, 3, generator=generator)
    return layer, Glora.from_tensors(LayerShape.of(layer), ours.tensors() | {"b2.weight": b2, "bm.weight": bm})


def theirs(layer: nn.Module, ours: Glora) -> Any:
    """LyCORIS' module with our numbers in it."""
    module = pytest.importorskip("lycoris.modules.glora").GLoRAModule("x", layer, 1.0, RANK, ALPHA)
    assert not module.load_state_dict(ours.tensors(), strict=False).unexpected_keys
    return module


@kinds
def test_lycoris_computes_the_same_and_files_go_both_ways(kind: str) -> None:
    layer, ours = layer_and_glora(kind)
    module = theirs(layer, ours)
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, module), rtol=1e-5, atol=1e-5)
    back, written = Glora.from_tensors(LayerShape.of(layer), module.custom_state_dict()).tensors(), ours.tensors()
    assert back.keys() == written.keys() and all(torch.equal(back[name], written[name]) for name in back)


@kinds
def test_the_change_is_the_weight_times_a_plus_b(kind: str) -> None:
    layer, ours = layer_and_glora(kind)
    a, b = ((first.weight.flatten(1) @ second.weight.flatten(1)) for first, second in ((ours.a1, ours.a2), (ours.b1, ours.b2)))
    mixed = torch.tensordot(layer.weight, a, dims=([1], [0])).movedim(-1, 1)
    torch.testing.assert_close(ours.deltas(base_tensors(layer))["weight"], ALPHA / RANK * (mixed + b.view(layer.weight.shape)))


def test_the_core_is_tuckers() -> None:
    layer, ours = with_core()
    without = randomised(layer_and_glora("conv 3x3")[1])
    assert ours.bm is not None
    b = torch.einsum("or,rsyx,si->oiyx", ours.b1.weight[..., 0, 0], ours.bm.weight, ours.b2.weight[..., 0, 0])
    ours_a = ours.deltas(base_tensors(layer))["weight"] - ALPHA / RANK * b
    with torch.no_grad():
        without.load_state_dict(ours.state_dict() | {"b2.weight": torch.zeros(RANK, 6, 3, 3)}, strict=False)
    torch.testing.assert_close(ours_a, without.deltas(base_tensors(layer))["weight"])
    torch.testing.assert_close(adapted(layer, ours), changed(layer, ours.deltas(base_tensors(layer))), rtol=1e-5, atol=1e-5)
    assert ours.tensors().keys() == set(Glora.suffixes)


def test_twice_through_the_layer_is_the_wide_change() -> None:
    """Exactly, values and gradients, in float64, with strides and dilation, with a core."""
    layer, ours = with_core()
    layer.stride, layer.dilation, layer.padding = (2, 1), (1, 2), (1, 2)  # type: ignore[assignment]
    layer, ours, x = layer.double(), ours.double(), inputs_of(layer).double().requires_grad_()
    y = layer(x)
    results = []
    for change in (ours(x, y, layer), Adapter.forward(ours, x, y, layer)):
        results.append((change, *torch.autograd.grad(change.square().sum(), [x, *ours.parameters()])))
    for fast, reference in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, rtol=1e-10, atol=1e-10)


def exchanged(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As LyCORIS wrote it before 2024: 1 and 2 the other way round."""
    return {name.translate(str.maketrans("12", "21")): tensor for name, tensor in tensors.items()}


@kinds
def test_files_of_early_lycoris_are_told_by_their_shapes(kind: str) -> None:
    layer, ours = layer_and_glora(kind)
    old = exchanged(ours.tensors())
    assert old["a1.weight"].shape[:2] == (RANK, 6) and old["b2.weight"].shape[:2] == (12, RANK)
    again = Glora.from_tensors(LayerShape.of(layer), old)
    assert all(torch.equal(again.tensors()[name], tensor) for name, tensor in ours.tensors().items())


def test_matrices_for_convolutions_are_understood_and_alpha_may_be_missing() -> None:
    layer, ours = layer_and_glora("conv 1x1")
    matrices = {name: tensor.flatten(1) for name, tensor in ours.tensors().items() if name != "alpha"}
    again = Glora.from_tensors(LayerShape.of(layer), matrices)
    assert all(torch.equal(again.tensors()[name].flatten(1), tensor) for name, tensor in matrices.items())
    assert again.tensors()["alpha"] == RANK


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"b1.weight": None}, "b1.weight is missing"),
        ({"a2.weight": None}, "a2.weight is missing"),
        ({"a2.weight": torch.ones(2, 7)}, r"a2.weight is \(2, 7\) where \(2, 6\) is needed"),
        ({"b1.weight": torch.ones(11, 2)}, r"b1.weight is \(11, 2\) where \(12, 2\) is needed"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(changed: dict, said: str) -> None:
    layer, ours = layer_and_glora("linear")
    tensors = {name: tensor for name, tensor in (ours.tensors() | changed).items() if tensor is not None}
    with pytest.raises(ValueError, match=said):
        Glora.from_tensors(LayerShape.of(layer), tensors)


def test_what_begins_at_zero_is_what_lora_plus_speeds_up() -> None:
    layer = layer_of("linear")
    ours = Glora.create(LayerShape.of(layer), {}, GloraOptions(rank=RANK, alpha=0), torch.Generator())
    assert ours.scale == 1
    slow, fast = ours.param_groups()
    assert not slow.up and all(parameter.any() for parameter in slow.parameters)
    assert fast.up and not any(parameter.any() for parameter in fast.parameters)
