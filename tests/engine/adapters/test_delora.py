"""DeLoRA against PEFT and the closed form, and the bound it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters.base import LayerShape
from engine.adapters.delora import Delora
from engine.adapters.layers import base_tensors
from engine.config.adapter import DeloraOptions
from tests.support.layers import KINDS, adapted, changed, layer_of, randomised, with_peft


def new(layer: nn.Module, strength: float = 2.0, alpha: float = 0) -> Delora:
    options = DeloraOptions(rank=3, alpha=alpha, strength=strength)
    return Delora.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("moved", [False, True])
def test_peft_computes_the_same(moved: bool) -> None:
    layer = layer_of("linear")
    ours = randomised(new(layer)) if moved else new(layer).eval()
    config = pytest.importorskip("peft").DeloraConfig(r=3, delora_lambda=2.0)
    tensors = dict(ours.named_parameters())
    torch.testing.assert_close(adapted(layer, ours), with_peft(layer, config, tensors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_change_is_the_closed_form(kind: str) -> None:
    layer = layer_of(kind)
    ours = randomised(new(layer, alpha=6))
    weight, a, b = layer.weight.flatten(1), ours.delora_A.flatten(1), ours.delora_B.flatten(1)
    terms = [torch.outer(b[:, rank], a[rank]) / b[:, rank].norm() / a[rank].norm() for rank in range(3)]
    wanted = 2 * ours.delora_lambda / 3 * sum(terms) * weight.norm(dim=0)
    torch.testing.assert_close(
        adapted(layer, ours), changed(layer, {"weight": wanted.view_as(layer.weight)}), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_strength_bounds_the_change_however_far_the_directions_go(kind: str) -> None:
    layer = layer_of(kind)
    for scale in (0.01, 100.0):
        ours = randomised(new(layer), scale)
        nn.init.constant_(ours.delora_lambda, 0.5)
        bound = 0.5 * layer.weight.flatten(1).norm(dim=0).max()
        assert 0 < ours.deltas({})["weight"].norm() <= bound * 1.0001


def test_max_norm_lowers_the_strength() -> None:
    ours = randomised(new(layer_of("linear")))
    ours.max_norm, before = 0.1, ours.delora_B.clone()
    Delora.after_step([ours], 1, 1)
    assert float(ours.change().detach().norm()) == pytest.approx(0.1) and torch.equal(ours.delora_B, before)


def test_lora_plus_speeds_up_the_factor_that_begins_at_zero() -> None:
    ours = new(layer_of("linear"))
    assert [group.parameters for group in ours.param_groups() if group.up] == [[ours.delora_B]]
