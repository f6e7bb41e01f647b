"""MiSS against PEFT and the closed form, and the plain LoRA that it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors
from engine.adapters.lora import Lora
from engine.adapters.miss import Miss
from engine.adapters.network import Network
from engine.config.adapter import MissOptions
from engine.errors import ConfigError
from tests.support.layers import KINDS, adapted, changed, layer_of, randomised, with_peft
from tests.support.targets import targets

ranks = pytest.mark.parametrize("rank", [1, 3, 4, 6])  # 4 does not divide the 6 inputs


def made(layer: nn.Module, rank: int, alpha: float = 0) -> Miss:
    options = MissOptions(rank=rank, alpha=alpha)
    return randomised(Miss.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator()))


@ranks
def test_peft_computes_the_same(rank: int) -> None:
    layer = layer_of("linear")
    ours = made(layer, rank)
    config = pytest.importorskip("peft").MissConfig(r=rank)
    theirs = with_peft(layer, config, {"miss_block": ours.miss_block})
    torch.testing.assert_close(adapted(layer, ours), theirs, rtol=1e-5, atol=1e-5)


@ranks
@pytest.mark.parametrize("kind", KINDS)
def test_every_input_of_a_shard_has_the_weights_of_its_place(rank: int, kind: str) -> None:
    layer = layer_of(kind)
    ours = made(layer, rank, alpha=2)
    columns = [ours.miss_block[number % rank] * 2 / rank for number in range(layer.weight[0].numel())]
    change = torch.stack(columns, 1).view_as(layer.weight)
    torch.testing.assert_close(ours.deltas({})["weight"], change)
    torch.testing.assert_close(adapted(layer, ours), changed(layer, {"weight": change}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fixed_factor_of_the_file_loses_nothing_in_half_precision(kind: str) -> None:
    layer = layer_of(kind)
    tensors = made(layer, 4).tensors()
    assert torch.equal(tensors["lora_down.weight"].half().float(), tensors["lora_down.weight"])
    assert Lora.from_tensors(LayerShape.of(layer), tensors).rank == 4


def test_a_shard_longer_than_the_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="rank 8 is more than its 6 inputs"):
        Network.create("sd1", {"unet": nn.Sequential(nn.Linear(6, 4))}, targets({"unet": ["0"]}, MissOptions(rank=8)), seed=0)
