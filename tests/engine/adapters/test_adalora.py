"""AdaLoRA's own rules: the decomposition, who loses ranks and when, and a file of what is left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import AdaLoraConfig, get_peft_model
from pydantic import ValidationError
from torch import Tensor, nn

from engine.adapters.adalora import INTERVAL, Adalora, Schedule
from engine.adapters.base import LayerShape
from engine.adapters.network import Network
from engine.config.adapter import AdaloraOptions, LoraOptions
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from tests.support.targets import targets

LINEAR, CONV = LayerShape(10, 6), LayerShape(10, 6, (3, 3))
STEPS = 150


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adapter_of(shape: LayerShape = LINEAR, **options: float) -> Adalora:
    return Adalora.create(shape, {}, AdaloraOptions(**{"rank": 4, "alpha": 2, **options}), generator())


class Layers(nn.Module):
    """Two layers side by side under names that adapter files know."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv_in, self.mid_block = nn.Linear(8, 12), nn.Linear(8, 12)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv_in(x), self.mid_block(x)], -1)


class Run:
    """Learns a change of rank two of the first layer; the second is right as it is."""

    def __init__(self, **options: float) -> None:
        self.model = Layers()
        chosen = AdaloraOptions(**{"rank": 4, "alpha": 4, "budget": 0.25, "begin": 0.1, "end": 0.6, **options})
        self.network = Network.create(
            "sd1", {"unet": self.model}, targets({"unet": ["conv_in", "mid_block"]}, chosen), seed=0
        ).train()
        groups = self.network.param_groups("unet")
        self.optimizer = torch.optim.Adam([{"params": own, "lr": 1e-2 * rate} for (rate, _), own in groups.items()])
        self.true = torch.randn(12, 2, generator=generator(2)) @ torch.randn(2, 8, generator=generator(3)) / 3
        self.done = 0

    def train(self, until: int = STEPS) -> None:
        self.network.insert({"unet": self.model})
        while self.done < until:
            self.done += 1
            x = torch.randn(32, 8, generator=generator(100 + self.done))
            plain = torch.cat([self.model.conv_in.weight @ x.T, self.model.mid_block.weight @ x.T]).T
            wanted = plain + torch.cat([x @ self.true.T, torch.zeros(32, 12)], -1)
            bias = torch.cat([self.model.conv_in.bias, self.model.mid_block.bias])
            self.network.begin_step(generator(self.done))
            (self.model(x) - wanted - bias).square().mean().backward()
            self.network.penalty().backward()  # type: ignore[union-attr]
            self.network.after_backward()
            self.optimizer.step()
            self.network.after_step(self.done, STEPS)
            self.optimizer.zero_grad()
        self.network.remove()

    @property
    def left(self) -> list[int]:
        return [int((adapter.values != 0).sum()) for adapter in self.network.adapters.values()]


@pytest.fixture(scope="module")
def finished() -> Run:
    run = Run()
    run.train()
    return run


# ---- the decomposition ----


@pytest.mark.parametrize("shape", [LINEAR, LayerShape(10, 6, (1, 1)), CONV], ids=str)
def test_the_change_is_p_values_q(shape: LayerShape) -> None:
    adapter = adapter_of(shape)
    with torch.no_grad():
        adapter.values.copy_(torch.tensor([1.0, -2.0, 0.0, 0.5]))
    p, q = adapter.lora_up.weight.flatten(1), adapter.lora_down.weight.flatten(1)
    torch.testing.assert_close(adapter.deltas({})["weight"].flatten(1), 2 / 4 * p @ torch.diag(adapter.values) @ q)
    torch.testing.assert_close(p.T @ p, torch.eye(4))
    torch.testing.assert_close(q @ q.T, torch.eye(4))


def test_it_is_pefts_forward() -> None:
    model = nn.Sequential(nn.Linear(6, 10))
    config = AdaLoraConfig(init_r=4, target_r=2, lora_alpha=2, total_step=10, target_modules=["0"])
    theirs = get_peft_model(model, config).base_model.model[0]
    ours = adapter_of()
    with torch.no_grad():
        ours.values.copy_(torch.randn(4, generator=generator(1)))
        theirs.lora_A["default"].copy_(ours.lora_down.weight)
        theirs.lora_B["default"].copy_(ours.lora_up.weight)
        theirs.lora_E["default"].copy_(ours.values[:, None])
    layer, x = theirs.base_layer, torch.randn(3, 6, generator=generator(2))
    torch.testing.assert_close(layer(x) + ours(x, layer(x), layer), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [LINEAR, CONV], ids=str)
def test_the_penalty_is_the_distance_from_orthonormal(shape: LayerShape) -> None:
    adapter = adapter_of(shape, orthogonality=0.5)
    assert adapter.penalty() < 1e-10
    with torch.no_grad():
        adapter.lora_up.weight.mul_(2.0)
    assert float(adapter.penalty().detach()) == pytest.approx(0.5 * 4 * (4 - 1) ** 2, rel=1e-5)
    assert adapter_of(orthogonality=0).penalty() is None


def test_a_first_step_goes_about_as_far_as_loras() -> None:
    lengths = []
    for options in (AdaloraOptions(rank=4, alpha=4), LoraOptions(rank=4, alpha=4)):
        model = Layers()
        network = Network.create("sd1", {"unet": model}, targets({"unet": ["conv_in"]}, options), seed=0).train()
        groups = network.param_groups("unet")
        optimizer = torch.optim.Adam([{"params": own, "lr": 1e-3 * rate} for (rate, _), own in groups.items()])
        network.insert({"unet": model})
        model(torch.randn(5, 8, generator=generator())).square().sum().backward()
        optimizer.step()
        lengths.append(next(iter(network.adapters.values())).deltas({})["weight"].norm().item())
    assert 0.5 < lengths[0] / lengths[1] < 2


# ---- the budget ----


def test_the_budget_falls_along_a_cubic_curve() -> None:
    schedule = Schedule(budget=0.2, begin=0.1, end=0.6)
    decided = [step for step in range(1, 101) if schedule.decides(step, 100)]
    assert decided == [20, 30, 40, 50, 60] and schedule.last(100) == 60
    assert [schedule.left(step, 100) for step in (10, 35, 60)] == pytest.approx([1.0, 0.2 + 0.8 * 0.5**3, 0.2])


@pytest.mark.parametrize("steps", [1, 2, 7, 9])
def test_however_short_a_run_is_the_budget_is_reached(steps: int) -> None:
    schedule = Schedule(budget=0.2, begin=0.1, end=0.15)
    last = [step for step in range(1, steps + 1) if schedule.decides(step, steps)][-1]
    assert schedule.left(last, steps) == pytest.approx(0.2)


def test_ranks_go_where_they_are_needed(finished: Run) -> None:
    assert finished.left == [2, 0]
    change = next(iter(finished.network.adapters.values())).deltas({})["weight"]
    assert (change - finished.true).norm() < 0.05 * finished.true.norm()


def test_layers_with_a_rule_of_their_own_have_a_budget_of_their_own() -> None:
    run = Run()
    first, second = run.network.adapters.values()
    second.schedule = Schedule(budget=1.0, begin=0.1, end=0.6)
    run.train()
    assert run.left == [1, 4] and first.alive.sum() == 1


def test_what_was_dropped_may_come_back_until_the_end() -> None:
    adapter = adapter_of(budget=0.5, begin=0.0, end=0.5)
    steps = 8 * INTERVAL

    def step(number: int, wanted: list[int]) -> None:
        with torch.no_grad():
            adapter.values[wanted] += 0.1
        adapter.values.grad = torch.zeros(4)
        adapter.values.grad[wanted] = 1.0
        adapter.after_backward()
        Adalora.after_step([adapter], number, steps)

    for number in range(1, 2 * INTERVAL + 1):
        step(number, [0, 1])
    assert (adapter.values != 0).tolist() == [True, True, False, False]
    for number in range(2 * INTERVAL + 1, 4 * INTERVAL + 1):
        step(number, [2, 3])
    assert (adapter.values != 0).tolist() == [False, False, True, True]
    for number in range(4 * INTERVAL + 1, 6 * INTERVAL + 1):
        step(number, [0, 1])
    assert (adapter.values != 0).tolist() == [False, False, True, True]


@pytest.mark.parametrize("until", [34, 110])
def test_a_resumed_run_goes_on_exactly(finished: Run, until: int) -> None:
    first, second = Run(), Run()
    first.train(until)
    saved = {name: tensor.detach().clone() for name, tensor in first.network.training_state().items()}
    optimizer = first.optimizer.state_dict()
    with torch.no_grad():
        for name, tensor in second.network.training_state().items():
            tensor.copy_(saved[name])
    second.optimizer.load_state_dict(optimizer)
    second.done = until
    second.train()
    theirs = finished.network.training_state()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in second.network.training_state().items())


# ---- the file ----


def test_the_file_holds_what_is_left_and_acts_the_same(finished: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "x.safetensors", finished.network.tensors(), {})
    file = read_adapter(tmp_path / "x.safetensors")
    shapes = {name: tuple(parts["lora_down.weight"].shape) for name, parts in file.modules.items()}
    assert shapes == {"lora_unet_conv_in": (2, 8), "lora_unet_mid_block": (1, 8)}
    assert not file.modules["lora_unet_mid_block"]["lora_up.weight"].any()
    x, model, outputs = torch.randn(4, 8, generator=generator(5)), finished.model, []
    for network in (finished.network.eval(), Network.from_file(file, {"unet": model}, "sd1")):
        network.insert({"unet": model})
        outputs.append(model(x))
        network.remove()
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    assert not torch.allclose(outputs[1], model(x), atol=1e-3)


# ---- what cannot be ----


def test_an_end_before_the_beginning_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"begin is 0\.5 and end 0\.5"):
        AdaloraOptions(begin=0.5, end=0.5)


def test_more_ranks_than_a_layer_has_are_refused() -> None:
    with pytest.raises(ValueError, match="rank 7 is more than"):
        adapter_of(rank=7)
