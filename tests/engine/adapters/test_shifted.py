"""A product less what it began as: exact where little has changed, resumed exactly, dropped in both halves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors
from engine.adapters.lora import Lora
from engine.adapters.network import Network
from engine.adapters.shifted import Shifted
from engine.config.adapter import LoraOptions
from tests.support.layers import KINDS, adapted, layer_of, randomised
from tests.support.targets import targets

layers = pytest.mark.parametrize("kind", KINDS)


def shifted(layer: nn.Module, **options: Any) -> Shifted:
    chosen = LoraOptions(**{"rank": 3, "alpha": 2, "initial": "pissa"} | options)
    adapter = Lora.create(LayerShape.of(layer), base_tensors(layer), chosen, torch.Generator().manual_seed(0))
    assert isinstance(adapter, Shifted)
    return adapter


@layers
def test_the_change_is_the_product_less_what_it_was(kind: str) -> None:
    adapter = shifted(layer_of(kind))
    first = adapter.first_up.flatten(1) @ adapter.first_down.flatten(1)
    randomised(adapter)
    now = adapter.scale * adapter.lora_up.weight.flatten(1) @ adapter.lora_down.weight.flatten(1)
    torch.testing.assert_close(adapter.deltas({})["weight"].flatten(1), now - first, rtol=1e-4, atol=1e-5)


@layers
@pytest.mark.parametrize(("saved", "error"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)], ids=str)
def test_a_small_change_survives_a_file_in_half_precision(kind: str, saved: torch.dtype, error: float) -> None:
    """With [B, -B0] and [A; A0] in the file it would be off by more than its own size."""
    adapter = randomised(shifted(layer_of(kind)), scale=1e-4)
    change = adapter.deltas({})["weight"].detach()
    tensors = {name: tensor.to(saved) for name, tensor in adapter.tensors().items()}
    again = Lora.from_tensors(LayerShape.of(layer_of(kind)), tensors)
    assert again.rank == 6
    assert float((again.deltas({})["weight"].detach() - change).norm() / change.norm()) < error


def test_what_it_began_as_is_part_of_the_training_state() -> None:
    """A run that goes on has other initial values, but for what it takes from the state."""
    model = nn.Sequential(layer_of("linear"))
    chosen = targets({"unet": ["0"]}, LoraOptions(rank=3, initial="pissa"))
    interrupted, resumed = (Network.create("sd1", {"unet": model}, chosen, seed) for seed in (1, 2))
    randomised(interrupted)
    with torch.no_grad():
        for name, tensor in resumed.eval().training_state().items():
            tensor.copy_(interrupted.training_state()[name])
    one, two = (next(iter(network.adapters.values())) for network in (interrupted, resumed))
    assert torch.equal(adapted(model[0], one), adapted(model[0], two))  # type: ignore[arg-type]


def test_a_rank_is_dropped_in_both_halves() -> None:
    adapter = shifted(layer_of("linear"), rank=6, rank_dropout=0.5).train()
    adapter.begin_step(torch.Generator().manual_seed(1))
    mask = adapter.mask(12, torch.zeros(()))
    assert mask is not None and torch.equal(mask[:6], mask[6:]) and 0 < mask.count_nonzero() < 12


def test_lora_plus_speeds_up_the_second_factor() -> None:
    adapter = shifted(layer_of("linear"))
    assert [(group.up, group.parameters) for group in adapter.param_groups()] == [
        (False, [adapter.lora_down.weight]),
        (True, [adapter.lora_up.weight]),
    ]
