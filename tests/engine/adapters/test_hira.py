"""HiRA against PEFT, with files in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.adapters.base import LayerShape
from engine.adapters.hira import Hira
from engine.adapters.layers import base_tensors
from engine.adapters.network import Network
from engine.config.adapter import HiraOptions
from engine.formats.adapter_file import read_adapter
from tests.support.layers import KINDS, adapted, inputs_of, layer_of, randomised, with_peft

layers = pytest.mark.parametrize("kind", KINDS)


def made(layer: nn.Module, rank: int = 3, alpha: float = 0, rank_dropout: float = 0) -> Hira:
    options = HiraOptions(rank=rank, alpha=alpha, rank_dropout=rank_dropout)
    return randomised(Hira.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator().manual_seed(0)))


@layers
def test_peft_computes_the_same(kind: str) -> None:
    layer = layer_of(kind)
    ours = made(layer)
    config = pytest.importorskip("peft").HiraConfig(r=3)
    tensors = {"hira_A": ours.hira_A, "hira_B": ours.hira_B}
    torch.testing.assert_close(adapted(layer, ours), with_peft(layer, config, tensors), rtol=1e-5, atol=1e-5)


class Model(nn.Module):
    """A layer under a name that files know."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.mid_block = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mid_block(x)


@layers
def test_a_file_of_peft_is_read_and_goes_back(kind: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    layer = layer_of(kind)
    config = peft.HiraConfig(r=3, target_modules=["mid_block"])
    theirs = peft.get_peft_model(Model(layer), config).eval()
    randomised(nn.ParameterList(parameter for name, parameter in theirs.named_parameters() if "hira" in name))
    theirs.save_pretrained(tmp_path)
    network = Network.from_file(read_adapter(tmp_path / "adapter_model.safetensors"), {"unet": Model(layer_of(kind))}, "sd1")
    ours = next(iter(network.eval().adapters.values()))
    assert isinstance(ours, Hira) and network.match.unmatched == ()
    torch.testing.assert_close(adapted(layer_of(kind), ours), theirs(inputs_of(layer)), rtol=1e-5, atol=1e-5)
    back = {f"base_model.model.mid_block.{name}": tensor for name, tensor in ours.tensors().items() if name != "alpha"}
    report = peft.set_peft_model_state_dict(theirs, back)
    assert not report.unexpected_keys and not any("hira" in name for name in report.missing_keys)


def test_the_change_is_the_weight_times_a_thin_product_and_of_high_rank() -> None:
    layer = nn.Linear(12, 12)
    ours = made(layer, rank=3, alpha=6)
    change = ours.deltas(base_tensors(layer))["weight"]
    torch.testing.assert_close(change, 2 * layer.weight * (ours.hira_B @ ours.hira_A))
    assert torch.linalg.matrix_rank(change) == 12


def test_dropped_ranks_are_those_of_the_step_and_the_mean_stays() -> None:
    layer = layer_of("linear")
    ours = made(layer, rank=64, rank_dropout=0.5).train()
    ours.begin_step(torch.Generator().manual_seed(1))
    kept = ours.kept(64)
    assert kept is not None and set(kept.tolist()) == {0.0, 2.0}
    torch.testing.assert_close(ours.change(), (ours.hira_B * kept) @ ours.hira_A)
    assert torch.equal(adapted(layer, ours), adapted(layer, ours))
    assert not torch.equal(ours.change(), ours.eval().change())


def test_lora_plus_speeds_up_the_second_factor() -> None:
    ours = made(layer_of("linear"))
    assert [(group.up, group.parameters) for group in ours.param_groups()] == [(False, [ours.hira_A]), (True, [ours.hira_B])]
