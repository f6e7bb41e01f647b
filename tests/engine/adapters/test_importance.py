"""The importance of weights: the paper's means, and the ones PEFT computes."""

from __future__ import annotations

import pytest
import torch
from peft import AdaLoraConfig
from peft.tuners.adalora.layer import RankAllocator
from torch import nn

from engine.adapters.importance import MEMORY, Importance


class Weights(nn.Module):
    """Named as PEFT's allocator looks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.ParameterDict({"default": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))})


def test_it_is_the_product_of_two_means() -> None:
    weight = nn.Parameter(torch.tensor([2.0, -3.0]))
    importance = Importance(weight)
    weight.grad = torch.tensor([0.5, 1.0])
    importance.observe(weight)
    sensitivity = (1 - MEMORY) * torch.tensor([1.0, 3.0])
    uncertainty = (1 - MEMORY) * (torch.tensor([1.0, 3.0]) - sensitivity)
    torch.testing.assert_close(importance.scores(), sensitivity * uncertainty)
    weight.grad = torch.tensor([-1.0, 0.0])
    importance.observe(weight)
    second = MEMORY * sensitivity + (1 - MEMORY) * torch.tensor([2.0, 0.0])
    uncertainty = MEMORY * uncertainty + (1 - MEMORY) * (torch.tensor([2.0, 0.0]) - second).abs()
    torch.testing.assert_close(importance.scores(), second * uncertainty)


def test_it_is_pefts() -> None:
    weights = Weights()
    weight = weights.lora_A["default"]
    allocator, ours = RankAllocator(weights, AdaLoraConfig(total_step=10), "default"), Importance(weight)
    for step in range(5):
        weight.grad = torch.randn(3, 4, generator=torch.Generator().manual_seed(step + 1))
        allocator.update_ipt(weights)
        ours.observe(weight)
        with torch.no_grad():
            weight.sub_(0.1 * weight.grad)
    torch.testing.assert_close(ours.scores(), allocator._element_score("lora_A.default"))


def test_a_step_without_a_gradient_counts_for_nothing() -> None:
    weight = nn.Parameter(torch.ones(2))
    importance = Importance(weight)
    weight.grad = torch.ones(2)
    importance.observe(weight)
    before, weight.grad = importance.scores(), None
    importance.observe(weight)
    assert torch.equal(importance.scores(), before) and before.min() > 0


@pytest.mark.parametrize("name", ["sensitivity", "uncertainty"])
def test_what_it_remembers_is_part_of_the_state(name: str) -> None:
    assert name in dict(Importance(torch.ones(2)).named_buffers())
