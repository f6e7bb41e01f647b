"""Weight decomposition (DoRA) of LoRA, LoHa and LoKr, against PEFT, LyCORIS and the paper's formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.adapters import ADAPTERS
from engine.adapters.base import LayerShape
from engine.adapters.factored import Factored, magnitude
from engine.adapters.layers import base_tensors
from engine.config.adapter import OPTIONS
from tests.support.layers import KINDS, adapted, inputs_of, layer_of, randomised, with_lycoris, with_peft

RANK, ALPHA = 2, 1.0
THEIRS = {"lora": ("locon", "LoConModule"), "loha": ("loha", "LohaModule"), "lokr": ("lokr", "LokrModule")}
algorithms = pytest.mark.parametrize("algorithm", THEIRS)
kinds = pytest.mark.parametrize("kind", KINDS)
axes = pytest.mark.parametrize("axis", ["outputs", "inputs"])


def decomposed(layer: nn.Module, algorithm: str, axis: str, **options: Any) -> Factored:
    chosen = OPTIONS[algorithm](**{"rank": RANK, "alpha": ALPHA, "decompose": axis} | options)
    adapter = ADAPTERS[algorithm].create(LayerShape.of(layer), base_tensors(layer), chosen, torch.Generator().manual_seed(3))
    assert isinstance(adapter, Factored)
    return adapter


def formula(weight: Tensor, change: Tensor, scale: Tensor) -> Tensor:
    """m (W + dW) / ||W + dW||, the norm over all but the axis that `scale` has."""
    moved = weight + change
    others = [axis for axis, size in enumerate(scale.shape) if size == 1]
    return scale * moved / moved.detach().square().sum(others, keepdim=True).sqrt()


@algorithms
@kinds
@axes
def test_it_begins_at_the_norms_of_the_base(algorithm: str, kind: str, axis: str) -> None:
    layer = layer_of(kind)
    scale = decomposed(layer, algorithm, axis).dora_scale
    ones = (1,) * (layer.weight.dim() - 2)
    assert scale is not None and scale.dtype == torch.float32 and scale.requires_grad
    assert scale.shape == ((12, 1, *ones) if axis == "outputs" else (1, 6, *ones))
    rows = layer.weight if axis == "outputs" else layer.weight.transpose(0, 1)
    torch.testing.assert_close(scale.flatten(), rows.flatten(1).norm(dim=1))


@algorithms
@kinds
@axes
def test_the_change_is_that_of_the_paper(algorithm: str, kind: str, axis: str) -> None:
    layer = layer_of(kind)
    ours = randomised(decomposed(layer, algorithm, axis))
    assert ours.dora_scale is not None
    wanted = formula(layer.weight, ours.change(), ours.dora_scale) - layer.weight
    torch.testing.assert_close(ours.deltas(base_tensors(layer))["weight"], wanted)


@algorithms
@kinds
@axes
def test_lycoris_computes_the_same_at_strength_one(algorithm: str, kind: str, axis: str) -> None:
    layer = layer_of(kind)
    ours = randomised(decomposed(layer, algorithm, axis))
    file, name = THEIRS[algorithm]
    module = getattr(pytest.importorskip(f"lycoris.modules.{file}"), name)
    theirs = module("x", layer, 1.0, RANK, ALPHA, weight_decompose=True, wd_on_out=axis == "outputs")
    assert not theirs.load_state_dict(ours.tensors(), strict=False).unexpected_keys
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, theirs), rtol=1e-5, atol=1e-5)
    again = type(ours).from_tensors(LayerShape.of(layer), theirs.custom_state_dict()).tensors()
    assert again.keys() == ours.tensors().keys() and all(torch.equal(again[name], ours.tensors()[name]) for name in again)


def test_lycoris_at_strength_zero_is_not_the_base() -> None:
    """Its strength moves the norm only; ours is on the whole change, so that 0 is the base (a law of every algorithm)."""
    module = pytest.importorskip("lycoris.modules.locon").LoConModule
    layer = layer_of("linear")
    theirs = module("x", layer, 0.0, RANK, ALPHA, weight_decompose=True)
    theirs.load_state_dict(randomised(decomposed(layer, "lora", "outputs")).tensors(), strict=False)
    assert (with_lycoris(layer, theirs) - layer(inputs_of(layer))).abs().max() > 0.01


@kinds
def test_peft_computes_the_same_on_lora(kind: str) -> None:
    config = pytest.importorskip("peft").LoraConfig(r=RANK, lora_alpha=ALPHA, use_dora=True)
    layer = layer_of(kind)
    ours = randomised(decomposed(layer, "lora", "outputs"))
    tensors = ours.tensors()
    scale = tensors["dora_scale"]
    theirs = {
        "lora_A.weight": tensors["lora_down.weight"],
        "lora_B.weight": tensors["lora_up.weight"],
        "lora_magnitude_vector.weight": scale.flatten() if scale.dim() == 2 else scale.transpose(0, 1),
    }
    torch.testing.assert_close(with_peft(layer, config, theirs), adapted(layer, ours), rtol=1e-5, atol=1e-5)


@axes
def test_a_convolution_of_one_pixel_may_have_a_matrix(axis: str) -> None:
    layer = layer_of("conv 1x1")
    ours = randomised(decomposed(layer, "lora", axis))
    flat = {name: tensor.flatten(1) if tensor.dim() == 4 else tensor for name, tensor in ours.tensors().items()}
    assert torch.equal(adapted(layer, type(ours).from_tensors(LayerShape.of(layer), flat)), adapted(layer, ours))


@pytest.mark.parametrize("size", [(12,), (6, 1), (1, 12), (12, 6), (1, 1), ()], ids=str)
def test_a_magnitude_of_neither_axis_is_refused(size: tuple[int, ...]) -> None:
    layer = layer_of("linear")
    tensors = decomposed(layer, "lora", "outputs").tensors() | {"dora_scale": torch.ones(size)}
    with pytest.raises(ValueError, match="dora_scale is"):
        ADAPTERS["lora"].from_tensors(LayerShape.of(layer), tensors)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, 4), (4, 1), (1, 1), (4, 4)])
@axes
def test_the_axis_is_known_where_a_side_is_one(outputs: int, inputs: int, axis: str) -> None:
    layer = nn.Linear(inputs, outputs).requires_grad_(False)
    ours = randomised(decomposed(layer, "lora", axis))
    assert ours.dora_scale is not None
    moved = layer.weight + ours.change()
    wanted = moved * ours.dora_scale / magnitude(moved, ("outputs", "inputs").index(axis)) - layer.weight
    torch.testing.assert_close(ours.deltas(base_tensors(layer))["weight"], wanted)


@algorithms
@kinds
@axes
def test_no_gradient_goes_through_the_norm(algorithm: str, kind: str, axis: str) -> None:
    """Section 4.3 of the paper; the training forward against the formula with its norm detached."""
    layer = layer_of(kind).double()
    ours = randomised(decomposed(layer, algorithm, axis)).double()
    assert ours.dora_scale is not None
    x = inputs_of(layer).double()
    y = layer(x)
    weight = formula(layer.weight, ours.change(), ours.dora_scale)
    closed = torch.func.functional_call(layer, {"weight": weight}, (x,))
    given = y + ours(x, y, layer)
    parameters = list(ours.parameters())
    for mine, right in zip(
        torch.autograd.grad(given.square().sum(), parameters), torch.autograd.grad(closed.square().sum(), parameters), strict=True
    ):
        torch.testing.assert_close(mine, right, rtol=1e-8, atol=1e-8)


@algorithms
@axes
def test_dropout_acts_inside(algorithm: str, axis: str) -> None:
    """What is dropped from the change differs by step; with nothing dropped it is the finished adapter."""
    layer = layer_of("linear")
    ours, x = randomised(decomposed(layer, algorithm, axis, rank_dropout=0.5)), inputs_of(layer)
    y = layer(x)
    whole = ours(x, y, layer)
    ours.train()
    drawn = []
    for seed in range(400):
        ours.begin_step(torch.Generator().manual_seed(seed))
        drawn.append(ours(x, y, layer).detach())
    assert not all(torch.equal(each, drawn[0]) for each in drawn)
    mean = torch.stack(drawn).mean(0)
    assert (mean - whole).abs().mean() < 0.15 * whole.abs().mean()


def test_a_bfloat16_base_has_a_float32_magnitude() -> None:
    layer = layer_of("linear").bfloat16()
    scale = decomposed(layer, "lora", "outputs").dora_scale
    assert scale is not None and scale.dtype == torch.float32
    torch.testing.assert_close(scale.flatten(), layer.weight.float().norm(dim=1))
