"""LoHa against LyCORIS and PEFT, its files, its dropout, and what it keeps for backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors, channel_axis
from engine.adapters.loha import Loha
from engine.config.adapter import LohaOptions
from tests.support.layers import adapted, inputs_of, layer_of, randomised, with_lycoris, with_peft

RANK, ALPHA = 3, 1.5
CASES = [("linear", False), ("conv 1x1", False), ("conv 3x3", False), ("conv 3x3", True)]
cases = pytest.mark.parametrize(("kind", "tucker"), CASES, ids=str)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def loha(layer: nn.Module, **options: Any) -> Loha:
    chosen = LohaOptions(**{"rank": RANK, "alpha": ALPHA} | options)
    return Loha.create(LayerShape.of(layer), base_tensors(layer), chosen, generator())


def theirs(layer: nn.Module, ours: Loha, tucker: bool = False) -> Any:
    """LyCORIS' module with our numbers in it."""
    module = pytest.importorskip("lycoris.modules.loha").LohaModule("x", layer, 1.0, RANK, ALPHA, use_tucker=tucker)
    assert not module.load_state_dict(ours.tensors(), strict=False).unexpected_keys
    return module


@cases
def test_lycoris_computes_the_same_and_files_go_both_ways(kind: str, tucker: bool) -> None:
    layer = layer_of(kind)
    ours = randomised(loha(layer, tucker=tucker))
    module = theirs(layer, ours, tucker)
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, module), rtol=1e-5, atol=1e-5)
    written = ours.tensors()
    back = Loha.from_tensors(LayerShape.of(layer), module.custom_state_dict()).tensors()
    assert back.keys() == written.keys() and all(torch.equal(back[name], written[name]) for name in back)


def test_the_merge_of_lycoris_multiplies_by_alpha_over_rank_twice() -> None:
    layer = layer_of("linear")
    ours = randomised(loha(layer))
    torch.testing.assert_close(theirs(layer, ours).get_diff_weight()[0], ours.deltas({})["weight"] * ALPHA / RANK)


@cases
def test_peft_computes_the_same(kind: str, tucker: bool) -> None:
    config = pytest.importorskip("peft").LoHaConfig(r=RANK, alpha=ALPHA, use_effective_conv2d=tucker)
    layer = layer_of(kind)
    ours = randomised(loha(layer, tucker=tucker))
    tensors = {name: tensor for name, tensor in ours.tensors().items() if name != "alpha"}
    torch.testing.assert_close(with_peft(layer, config, tensors), adapted(layer, ours), rtol=1e-5, atol=1e-5)


def test_the_change_is_the_product_of_two_products() -> None:
    ours = randomised(loha(layer_of("conv 3x3")))
    first, second = ours.hada_w1_a @ ours.hada_w1_b, ours.hada_w2_a @ ours.hada_w2_b
    torch.testing.assert_close(ours.deltas({})["weight"], (ALPHA / RANK * first * second).reshape(12, 6, 3, 3))


def test_its_rank_may_be_the_square_of_the_rank() -> None:
    ours = randomised(loha(nn.Linear(12, 12)))
    assert torch.linalg.matrix_rank(ours.deltas({})["weight"]) == RANK**2


def test_initial_values_are_those_of_lycoris() -> None:
    ours = loha(nn.Conv2d(200, 300, 3), rank=32, tucker=True)
    deviations = {name: float(parameter.detach().std()) for name, parameter in ours.named_parameters()}
    wanted = {"hada_w1_a": 0.1, "hada_w1_b": 1, "hada_w2_a": 0, "hada_w2_b": 1, "hada_t1": 0.1, "hada_t2": 0.1}
    assert deviations == pytest.approx(wanted, rel=0.1)


def test_ranks_of_convolutions_are_their_own() -> None:
    options = {"conv_rank": 2, "conv_alpha": 5}
    assert loha(nn.Conv2d(6, 10, 3), **options).hada_w1_b.shape == (2, 54)
    assert loha(nn.Conv2d(6, 10, 3), **options).scale == 2.5
    assert loha(nn.Conv2d(6, 10, 1), **options).hada_w1_b.shape == (RANK, 6)


# ---- files ----


def test_factors_of_a_convolution_may_have_its_shape_and_alpha_may_be_missing() -> None:
    layer = layer_of("conv 3x3")
    ours = randomised(loha(layer, alpha=RANK))
    tensors = {name: tensor for name, tensor in ours.tensors().items() if name != "alpha"}
    tensors |= {name: tensors[name].reshape(RANK, 6, 3, 3) for name in ("hada_w1_b", "hada_w2_b")}
    again = Loha.from_tensors(LayerShape.of(layer), tensors)
    assert torch.equal(again.deltas({})["weight"], ours.deltas({})["weight"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hada_w2_a": None}, "hada_w2_a is missing"),
        ({"hada_w1_b": None}, "hada_w1_b is missing"),
        ({"hada_w1_b": torch.ones(())}, r"hada_w1_b is \(\)"),
        ({"hada_w1_b": torch.ones(0, 6)}, r"hada_w1_b is \(0, 6\)"),
        ({"hada_w1_a": torch.ones(11, 3)}, r"hada_w1_a is \(11, 3\) where \(12, 3\) is needed"),
        ({"hada_w2_b": torch.ones(4, 6)}, r"hada_w2_b is \(4, 6\) where \(3, 6\) is needed"),
        ({"hada_t1": torch.ones(3, 3)}, "hada_w1_a is .* is needed"),
        ({"dora_scale": torch.ones(7, 1)}, r"dora_scale is \(7, 1\)"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(changed: dict, said: str) -> None:
    layer = layer_of("linear")
    tensors = loha(layer).tensors() | changed
    with pytest.raises(ValueError, match=said):
        Loha.from_tensors(LayerShape.of(layer), {name: tensor for name, tensor in tensors.items() if tensor is not None})


# ---- training ----


@cases
def test_rank_dropout_drops_rows_of_the_change(kind: str, tucker: bool) -> None:
    layer = layer_of(kind)
    ours, x = randomised(loha(layer, tucker=tucker, rank_dropout=0.5)), inputs_of(layer)
    y = layer(x)
    full = ours(x, y, layer)
    ours.train().begin_step(generator(3))
    state = torch.get_rng_state()
    dropped = ours(x, y, layer)
    assert torch.equal(ours(x, y, layer), dropped)  # a recomputed forward drops the same
    assert torch.equal(torch.get_rng_state(), state)
    rows, whole = (change.movedim(channel_axis(layer), 0).flatten(1) for change in (dropped, full))
    gone = rows.abs().amax(1) == 0
    assert 0 < gone.sum() < len(rows)
    torch.testing.assert_close(rows[~gone], 2 * whole[~gone])
    ours.begin_step(generator(4))
    assert not torch.equal(ours(x, y, layer), dropped)


def test_the_bound_of_the_norm_looks_at_the_whole_change() -> None:
    """Not at what rank dropout has left of it in this step."""
    ours = randomised(loha(nn.Linear(6, 10), rank_dropout=0.5, max_norm=0.01)).train()
    ours.begin_step(generator())
    direction = ours.change().detach()
    Loha.after_step([ours], 1, 1)
    torch.testing.assert_close(ours.change(), direction * 0.01 / direction.norm())


@pytest.mark.parametrize("kind", ["linear", "conv 3x3"])
def test_nothing_of_the_size_of_the_weight_is_kept_for_backward(kind: str) -> None:
    layer = layer_of(kind)
    ours, x = randomised(loha(layer)), inputs_of(layer).requires_grad_()
    y, sizes = layer(x), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
        change = ours(x, y, layer)
    assert sizes and max(sizes) <= x.numel() and layer.weight.numel() not in sizes
    change.square().sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


def test_gradient_checkpointing_around_it_changes_nothing() -> None:
    layer = layer_of("conv 3x3")
    ours, x = randomised(loha(layer, rank_dropout=0.3)).train(), inputs_of(layer).requires_grad_()
    ours.begin_step(generator(5))

    def output(x: torch.Tensor) -> torch.Tensor:
        y = layer(x)
        return y + ours(x, y, layer)

    plain, again = (
        torch.autograd.grad(result.square().sum(), [x, *ours.parameters()])
        for result in (output(x), checkpoint(output, x, use_reentrant=False))
    )
    assert all(torch.equal(*pair) for pair in zip(plain, again, strict=True))
