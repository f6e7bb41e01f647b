"""Adapters on a base of 4 or 8 bits (QLoRA): the laws that remain, for every algorithm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.adapters import ADAPTERS
from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors, change_of_output
from engine.adapters.network import Network
from engine.families.quantise import FORMATS, quantise
from tests.support.adapter_cases import CASES, ROUNDED
from tests.support.targets import targets

pytest.importorskip("bitsandbytes", reason="bitsandbytes is not made for this system")
ON_LINEAR = [case for case, options in CASES.items() if ADAPTERS[options.kind].adapts(LayerShape(64, 96))]  # type: ignore[attr-defined]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mid_block = nn.Linear(96, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mid_block(x)


def model_of(how: str) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Model().requires_grad_(False)
    assert quantise(model, how) == 1
    return model


def inputs() -> torch.Tensor:
    return torch.randn(2, 5, 96, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("case", ON_LINEAR)
def test_every_algorithm_trains_on_a_quantised_base(case: str, how: str) -> None:
    model, x = model_of(how), inputs()
    plain, stored = model(x), model.mid_block.weight.clone()
    network = Network.create("sd1", {"unet": model}, targets({"unet": ["mid_block"]}, CASES[case]), seed=0)
    network.insert({"unet": model})
    began = model(x)
    assert torch.allclose(began, plain, atol=1e-5) if case in ROUNDED else torch.equal(began, plain)
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=0.01)
    losses = []
    for _ in range(8):
        loss = (model(x) - plain.detach() - 1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    network.strengths = {"unet": 0.0}
    assert torch.equal(model(x), plain)
    assert torch.equal(model.mid_block.weight, stored)


@pytest.mark.parametrize("how", FORMATS)
@pytest.mark.parametrize("case", ON_LINEAR)
def test_the_change_is_that_of_the_dequantised_weight(case: str, how: str) -> None:
    model, x = model_of(how), inputs()
    plain = model(x)
    network = Network.create("sd1", {"unet": model}, targets({"unet": ["mid_block"]}, CASES[case]), seed=0).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
        network.insert({"unet": model})
        (adapter,) = network.adapters.values()
        wanted = change_of_output(model.mid_block, x, adapter.deltas(base_tensors(model.mid_block)))  # type: ignore[operator]
        assert (model(x) - plain - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
