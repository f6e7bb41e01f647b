"""Normalisation layers against LyCORIS, and where `train_norms` puts them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters.base import LayerShape
from engine.adapters.network import Network
from engine.adapters.norm import Norm
from engine.config.adapter import LoraOptions
from engine.config.targets import Layer, choose
from tests.support.layers import adapted, changed, randomised, with_lycoris

LAYERS = {"layer": lambda: nn.LayerNorm(6), "group": lambda: nn.GroupNorm(2, 6)}
layers = pytest.mark.parametrize("kind", LAYERS)


def norm_of(kind: str) -> nn.Module:
    return randomised(LAYERS[kind]().requires_grad_(False))


@layers
def test_a_file_of_lycoris_does_what_it_did_there(kind: str) -> None:
    layer = norm_of(kind)
    theirs = randomised(pytest.importorskip("lycoris.modules.norms").NormModule("x", layer))
    ours = Norm.from_tensors(LayerShape.of(layer), theirs.state_dict())
    assert ours.tensors().keys() == theirs.state_dict().keys() == {"w_norm", "b_norm"}
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, theirs), rtol=1e-5, atol=1e-5)


@layers
@pytest.mark.parametrize(("suffix", "place"), [("w_norm", "weight"), ("b_norm", "bias")])
def test_a_file_may_hold_only_one_of_the_two(kind: str, suffix: str, place: str) -> None:
    layer, change = norm_of(kind), torch.randn(6, generator=torch.Generator().manual_seed(3))
    ours = Norm.from_tensors(LayerShape.of(layer), {suffix: change})
    torch.testing.assert_close(adapted(layer, ours), changed(layer, {place: change}), rtol=1e-5, atol=1e-5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"w_norm is \(7,\) where \(6,\) is needed"):
        Norm.from_tensors(LayerShape(6, 0), {"w_norm": torch.zeros(7)})
    with pytest.raises(ValueError, match="a bias, which the layer does not have"):
        Norm.from_tensors(LayerShape.of(nn.LayerNorm(6, bias=False)), {"b_norm": torch.zeros(6)})


@layers
def test_train_norms_adds_them_to_any_algorithm(kind: str) -> None:
    model = nn.ModuleDict({"mid_block": nn.ModuleDict({"to_q": nn.Linear(6, 6), "norm": norm_of(kind)})})
    layers = {"unet": [Layer("mid_block.to_q", "attention"), Layer("mid_block.norm", "norm")]}
    for train_norms in (False, True):
        network = Network.create("sd1", {"unet": model}, choose(layers, LoraOptions(train_norms=train_norms)), seed=0)
        names = {name for name, adapter in network.adapters.items() if isinstance(adapter, Norm)}
        assert names == ({"lora_unet_mid_block_norm"} if train_norms else set())
