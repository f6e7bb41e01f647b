"""VeRA against PEFT, and its random factors: shared, never saved, always the same."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn

from engine.adapters import vera
from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors
from engine.adapters.network import Network
from engine.adapters.vera import Vera
from engine.config.adapter import VeraOptions
from tests.support.layers import KINDS, adapted, changed, inputs_of, layer_of, randomised
from tests.support.targets import targets


def made(layer: nn.Module, seed: int = 0, rank: int = 3) -> Vera:
    options = VeraOptions(rank=rank, alpha=rank)
    return Vera.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator().manual_seed(seed))


def test_peft_computes_the_same() -> None:
    peft = pytest.importorskip("peft")
    layer = layer_of("linear")
    ours = randomised(made(layer))
    theirs = peft.get_peft_model(nn.Sequential(layer), peft.VeraConfig(r=3, target_modules=["0"])).eval().base_model.model[0]
    assert torch.equal(theirs.vera_lambda_d["default"], made(layer).vera_lambda_d)
    assert torch.equal(theirs.vera_lambda_b["default"], made(layer).vera_lambda_b)
    with torch.no_grad():
        for mine, other in zip(ours.frozen, (theirs.vera_A, theirs.vera_B), strict=True):
            assert other["default"].std() == pytest.approx(float(mine.std()), rel=0.5)
            other["default"].copy_(mine)
        theirs.vera_lambda_d["default"].copy_(ours.vera_lambda_d)
        theirs.vera_lambda_b["default"].copy_(ours.vera_lambda_b)
        torch.testing.assert_close(adapted(layer, ours), theirs(inputs_of(layer)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_change_is_the_closed_form(kind: str) -> None:
    layer = layer_of(kind)
    ours = randomised(made(layer))
    down, up = (factor.flatten(1) for factor in ours.frozen)
    wanted = torch.diag(ours.vera_lambda_b) @ up @ torch.diag(ours.vera_lambda_d) @ down
    torch.testing.assert_close(adapted(layer, ours), changed(layer, {"weight": wanted.view_as(layer.weight)}))


def test_layers_of_a_shape_share_their_random_factors_wherever_they_go() -> None:
    one, two, wider = made(nn.Linear(6, 12)), made(nn.Linear(6, 12)), made(nn.Linear(6, 20))
    for _ in range(2):
        assert all(a is b for a, b in zip(one.frozen, two.frozen, strict=True))
        assert one.frozen[0] is wider.frozen[0] and one.frozen[1].shape != wider.frozen[1].shape
        for each in (one, two, wider):
            each.double()
    assert one.frozen[0].dtype == torch.float64


def test_random_factors_come_from_the_seed_and_are_not_in_the_state() -> None:
    model = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 6), nn.Linear(6, 12))
    chosen = targets({"unet": ["0", "1", "2"]}, VeraOptions(rank=3))
    network, again, other = (Network.create("sd1", {"unet": model}, chosen, seed) for seed in (5, 5, 6))
    assert sum(tensor.numel() for tensor in network.training_state().values()) == 3 * 3 + 12 + 6 + 12
    first, same, different = (next(iter(each.adapters.values())).frozen[0] for each in (network, again, other))
    assert torch.equal(first, same) and not torch.equal(first, different)


def test_random_factors_are_gone_with_the_last_adapter() -> None:
    adapter = made(nn.Linear(7, 11), seed=99)
    keys = {key for key in vera._SHARED if key[1] in (99, 100)}
    assert len(keys) == 2
    del adapter
    gc.collect()
    assert not keys & set(vera._SHARED)
