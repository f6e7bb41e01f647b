"""ARD-LoRA's own rules: ranks of heads, their penalty, and a file without what no head uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.adapters.ard_lora import ArdLora, component_weights, head_ranks
from engine.adapters.base import LayerShape
from engine.adapters.network import Network
from engine.config.adapter import ArdLoraOptions
from engine.config.targets import Layer, Target
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.rank_map import HEAD_RANKS, layer_ranks

RANK, HEADS, STEPS = 4, 3, 300
LAYERS = {"conv_in": "outputs", "mid_block": "inputs", "conv_out": "outputs"}
"""Layers of the model below -> what its heads own."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def adapter_of(shape: LayerShape, scales: list[float], **options: float) -> ArdLora:
    """Every number random but the scales."""
    adapter = ArdLora.create(shape, {}, ArdLoraOptions(**{"rank": RANK, "alpha": 2, **options}), generator())
    with torch.no_grad():
        adapter.lora_up.weight.copy_(torch.randn(adapter.lora_up.weight.shape, generator=generator(1)))
        adapter.scales.copy_(torch.tensor(scales))
    return adapter.eval()


class Layers(nn.Module):
    """Layers whose heads own outputs, inputs and outputs, side by side."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.conv_in, self.mid_block, self.conv_out = (nn.Linear(9, 9) for _ in LAYERS)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv_in(x), self.mid_block(x), self.conv_out(x)], -1)


class Run:
    """In two layers the first head needs rank two, the second one and the third none; the last layer is right as it is."""

    def __init__(self, **options: float) -> None:
        self.model = Layers()
        chosen = ArdLoraOptions(**{"rank": RANK, "alpha": RANK, "sparsity": 0.03, "rank_rate": 1, **options})
        wanted = [Target(Layer(path, "attention", HEADS, axis), chosen) for path, axis in LAYERS.items()]  # type: ignore[arg-type]
        self.network = Network.create("sd1", {"unet": self.model}, {"unet": wanted}, seed=0).train()
        groups = self.network.param_groups("unet")
        self.optimizer = torch.optim.Adam([{"params": own, "lr": 1e-2 * rate} for (rate, _), own in groups.items()])
        first = torch.randn(3, 2, generator=generator(2)) @ torch.randn(2, 9, generator=generator(3))
        second = torch.randn(3, 1, generator=generator(4)) @ torch.randn(1, 9, generator=generator(5))
        true = torch.cat([first, second, torch.zeros(3, 9)]) / 2
        self.true = {"conv_in": true, "mid_block": true.T, "conv_out": torch.zeros(9, 9)}
        self.done = 0

    def train(self, until: int = STEPS) -> None:
        self.network.insert({"unet": self.model})
        layers = {path: self.model.get_submodule(path) for path in LAYERS}
        while self.done < until:
            self.done += 1
            x = torch.randn(64, 9, generator=generator(100 + self.done))
            wanted = [x @ (layer.weight + self.true[path]).T + layer.bias for path, layer in layers.items()]  # type: ignore[operator]
            self.network.begin_step(generator(self.done))
            loss = (self.model(x) - torch.cat(wanted, -1)).square().mean()
            (loss + self.network.penalty()).backward()  # type: ignore[operator]
            self.network.after_backward()
            self.optimizer.step()
            self.network.after_step(self.done, STEPS)
            self.optimizer.zero_grad()
        self.network.remove()


@pytest.fixture(scope="module")
def finished() -> Run:
    run = Run()
    run.train()
    return run


# ---- the ranks of heads ----


def test_a_rank_is_a_soft_step_over_the_components() -> None:
    weights = component_weights(torch.tensor([0.0, 0.4, 2.25, 4.0]), 4)
    wanted = [[0, 0.4, 1, 1], [0, 0, 1, 1], [0, 0, 0.25, 1], [0, 0, 0, 1]]
    torch.testing.assert_close(weights, torch.tensor(wanted))


@pytest.mark.parametrize("kernel", [(), (1, 1), (3, 3)], ids=str)
@pytest.mark.parametrize("axis", ["outputs", "inputs"])
def test_each_head_has_its_own_rank(kernel: tuple[int, ...], axis: str) -> None:
    """The change of a head's rows or columns, one head and one component at a time."""
    scales, shape = [1.0, 0.6, 0.0], LayerShape(12, 6, kernel, HEADS, axis)  # type: ignore[arg-type]
    adapter = adapter_of(shape, scales)
    down, up = adapter.lora_down.weight.flatten(1), adapter.lora_up.weight.flatten(1)
    wanted = torch.zeros(12, down.shape[1])
    width, taps = (4, 0) if axis == "outputs" else (2, down.shape[1] // 6)
    for head, scale in enumerate(scales):
        for component in range(RANK):
            part = 2 / RANK * min(1, max(0, RANK * scale - component)) * torch.outer(up[:, component], down[component])
            if axis == "outputs":
                wanted[head * width : (head + 1) * width] += part[head * width : (head + 1) * width]
            else:
                columns = slice(head * width * taps, (head + 1) * width * taps)
                wanted[:, columns] += part[:, columns]
    torch.testing.assert_close(adapter.deltas({})["weight"].flatten(1), wanted)


def test_the_last_component_says_whether_it_is_needed() -> None:
    adapter = adapter_of(LayerShape(6, 6, (), HEADS), [1.0, 0.6, 0.0])
    adapter.deltas({})["weight"].square().sum().backward()
    gradient = adapter.scales.grad
    assert gradient is not None and gradient[0] > 0 and gradient[1] > 0 and gradient[2] == 0


def test_heads_and_layers_that_need_no_rank_lose_it(finished: Run) -> None:
    ranks = [adapter.head_ranks().tolist() for adapter in finished.network.adapters.values()]
    assert [[rank > 0 for rank in own] for own in ranks] == [[True, True, False], [True, True, False], [False, False, False]]
    for name, adapter in zip(LAYERS, finished.network.adapters.values(), strict=True):
        true = finished.true[name]
        assert (adapter.deltas({})["weight"] - true).norm() <= 0.05 * true.norm()


# ---- the penalty ----


def test_the_penalty_is_that_of_the_paper_as_a_mean() -> None:
    adapter = adapter_of(LayerShape(6, 6, (), HEADS), [0.5, 0.2, 0.0], sparsity=0.1, variation=2)
    adapter.scales_before.copy_(torch.tensor([0.4, 0.4, 0.0]))
    assert float(adapter.penalty().detach()) == pytest.approx(0.1 * (0.7 / 3 + 2 * 0.3 / 3))  # type: ignore[union-attr]
    adapter.after_backward()
    assert float(adapter.penalty().detach()) == pytest.approx(0.1 * 0.7 / 3)  # type: ignore[union-attr]
    assert adapter_of(LayerShape(6, 6), [1.0], sparsity=0).penalty() is None


def test_it_does_not_grow_with_the_number_of_layers() -> None:
    run = Run(sparsity=0.1)
    assert float(run.network.penalty().detach()) == pytest.approx(0.1)  # type: ignore[union-attr]


def test_scales_have_a_rate_of_their_own() -> None:
    adapter = adapter_of(LayerShape(6, 6), [1.0], rank_rate=7)
    (own,) = [group for group in adapter.param_groups() if group.rate == 7]
    assert own.parameters == [adapter.scales]
    assert sum(len(group.parameters) for group in adapter.param_groups()) == len(list(adapter.parameters()))


def test_scales_stay_between_nothing_and_everything() -> None:
    adapter = adapter_of(LayerShape(6, 6, (), HEADS), [1.2, -0.1, 0.5])
    ArdLora.after_step([adapter], 1, 10)
    assert adapter.scales.tolist() == [1.0, 0.0, 0.5]


@pytest.mark.parametrize("until", [7, 150])
def test_a_resumed_run_goes_on_exactly(finished: Run, until: int) -> None:
    first, second = Run(), Run()
    first.train(until)
    saved = {name: tensor.detach().clone() for name, tensor in first.network.training_state().items()}
    with torch.no_grad():
        for name, tensor in second.network.training_state().items():
            tensor.copy_(saved[name])
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.done = until
    second.train()
    theirs = finished.network.training_state()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in second.network.training_state().items())


# ---- the file ----


def test_the_file_is_a_plain_lora_without_what_no_head_uses(finished: Run, tmp_path: Path) -> None:
    ranks = head_ranks(finished.network.adapters)  # type: ignore[arg-type]
    write_adapter(tmp_path / "x.safetensors", finished.network.tensors(), {HEAD_RANKS: json.dumps(ranks)})
    file = read_adapter(tmp_path / "x.safetensors")
    own, others, useless = (file.modules[f"lora_unet_{name}"] for name in LAYERS)
    assert own["lora_up.weight"][:6].any() and not own["lora_up.weight"][6:].any()
    assert len(useless["lora_down.weight"]) == 1 and not useless["lora_up.weight"].any()
    assert others["lora_down.weight"][:, :6].any() and not others["lora_down.weight"][:, 6:].any()
    x, model, outputs = torch.randn(4, 9, generator=generator(5)), finished.model, []
    for network in (finished.network.eval(), Network.from_file(file, {"unet": model}, "sd1")):
        network.insert({"unet": model})
        outputs.append(model(x))
        network.remove()
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-6)
    assert {row.name: list(row.heads) for row in layer_ranks(file.path)} == ranks


@pytest.mark.parametrize(
    "shape", [LayerShape(6, 6, (), HEADS), LayerShape(6, 6, (), HEADS, "inputs"), LayerShape(6, 6, (3, 3))], ids=str
)
def test_components_that_no_head_uses_are_cut_out(shape: LayerShape) -> None:
    adapter = adapter_of(shape, [0.3, 0.6, 0.0][: shape.heads])
    tensors = adapter.tensors()
    rank = 3 if shape.heads > 1 else 2
    assert len(tensors["lora_down.weight"]) == tensors["lora_up.weight"].shape[1] == tensors["alpha"] == rank
    change = tensors["lora_up.weight"].flatten(1) @ tensors["lora_down.weight"].flatten(1)
    torch.testing.assert_close(change, adapter.deltas({})["weight"].flatten(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("axis", ["outputs", "inputs"])
def test_a_layer_of_which_nothing_is_left_keeps_a_rank_of_zeros(axis: str) -> None:
    adapter = adapter_of(LayerShape(6, 6, (), HEADS, axis), [0.0, 0.0, 0.0])  # type: ignore[arg-type]
    tensors = adapter.tensors()
    assert tensors["lora_down.weight"].shape == (1, 6) and tensors["lora_up.weight"].shape == (6, 1) and tensors["alpha"] == 1
    assert not (tensors["lora_up.weight"] @ tensors["lora_down.weight"]).any()


def test_ranks_in_metadata_are_rounded_up() -> None:
    """So that the highest, rounded up, is the rank of the file."""
    adapter = adapter_of(LayerShape(6, 6, (), HEADS), [0.50001, 0.5, 0.0])
    assert head_ranks({"x": adapter}) == {"x": [2.01, 2.0, 0.0]}
    assert adapter.tensors()["lora_down.weight"].shape[0] == 3


def test_heads_that_do_not_divide_the_layer_are_refused() -> None:
    with pytest.raises(ValueError, match="10 outputs cannot be cut into 3 heads"):
        adapter_of(LayerShape(10, 6, (), 3), [1.0, 1.0, 1.0])
