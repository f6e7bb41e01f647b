"""What every adapter algorithm owes, on every kind of layer. An algorithm joins by being registered and by its lines in CASES."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.adapters import ADAPTERS
from engine.adapters.base import Adapter, LayerShape
from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.formats.adapter_file import read_adapter
from engine.formats.adapter_writer import write_adapter
from engine.formats.names import ModuleRef
from tests.support.adapter_cases import CASES, EXPORTED, ROUNDED
from tests.support.targets import targets

LAYERS = {
    "linear": lambda: nn.Linear(6, 10),
    "linear without bias": lambda: nn.Linear(6, 10, bias=False),
    "conv 1x1": lambda: nn.Conv2d(6, 10, 1),
    "conv 3x3": lambda: nn.Conv2d(6, 10, 3, padding=1),
    "conv 3x3 strided": lambda: nn.Conv2d(6, 10, 3, stride=2, padding=1),
    "conv 3x3 unpadded": lambda: nn.Conv2d(6, 10, 3, stride=(1, 2)),
    "conv 3x3 dilated": lambda: nn.Conv2d(6, 10, 3, padding=2, dilation=2, bias=False),
    "conv 3x3 circular": lambda: nn.Conv2d(6, 10, 3, padding=1, padding_mode="circular"),
    "layer norm": lambda: nn.LayerNorm(6),
    "group norm": lambda: nn.GroupNorm(2, 6),
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
ULP = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
"""Distance of two neighbouring numbers just above 1."""


def pairs() -> list[tuple[str, str]]:
    """(variant, layer) for all layers that the variant's algorithm exists for."""
    shapes = {kind: LayerShape.of(make()) for kind, make in LAYERS.items()}
    return [(case, kind) for case, o in CASES.items() for kind, shape in shapes.items() if ADAPTERS[o.kind].adapts(shape)]  # type: ignore[attr-defined]


algorithms = pytest.mark.parametrize(("algorithm", "kind"), pairs(), ids=str)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)


class Model(nn.Module):
    """One layer under a name that adapter files know."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.mid_block = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.mid_block(x)


def model_of(kind: str, dtype: torch.dtype = torch.float32) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Model(LAYERS[kind]())
        for parameter in model.parameters():  # those of normalisation begin at one and zero
            if parameter.dim() == 1:
                nn.init.normal_(parameter)
        return model.to(dtype).requires_grad_(False)


def inputs(model: Model, dtype: torch.dtype | None = None) -> Tensor:
    shape = (2, 5, 6) if isinstance(model.mid_block, nn.Linear | nn.LayerNorm) else (2, 6, 9, 9)
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype or model.mid_block.weight.dtype)


def network_in(model: Model, algorithm: str, seed: int | None = 3) -> Network:
    """A network over the model's layer; every parameter random unless `seed` is None."""
    network = Network.create("sd1", {"unet": model}, targets({"unet": ["mid_block"]}, CASES[algorithm]), seed=0)
    generator = torch.Generator().manual_seed(seed or 0)
    with torch.no_grad():
        for parameter in network.parameters() if seed is not None else ():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.eval()


def only(network: Network) -> Adapter:
    (adapter,) = network.adapters.values()
    return adapter  # type: ignore[return-value]


def merged(model: Model, *networks: tuple[Network, float]) -> Merger:
    merger = Merger({"unet": model})
    merger.apply([Applied(network, strength, strength, (id(network),)) for network, strength in networks])
    return merger


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_algorithm_has_cases() -> None:
    assert {options.kind for options in CASES.values()} == ADAPTERS.keys()  # type: ignore[attr-defined]


# ---- law 1: a new adapter changes nothing ----


@algorithms
@dtypes
def test_a_new_adapter_changes_nothing(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    model = model_of(kind, dtype)
    x, plain, weights = inputs(model), model(inputs(model)), state(model)
    network = network_in(model, algorithm, seed=None)
    network.insert({"unet": model})
    given = model(x)
    network.remove()
    merged(model, (network, 1.0))
    if algorithm in ROUNDED:
        tolerance = 1e-5 if dtype == torch.float32 else 2 * ULP[dtype] * plain.abs().max()
        assert (given - plain).abs().max() <= tolerance and (model(x) - plain).abs().max() <= tolerance
    else:
        assert torch.equal(given, plain)
        assert same_bits(state(model), weights)


@algorithms
def test_a_new_adapter_changes_nothing_under_autocast(algorithm: str, kind: str) -> None:
    model = model_of(kind)
    network = network_in(model, algorithm, seed=None)
    with torch.autocast("cpu", torch.bfloat16):
        plain = model(inputs(model))
        network.insert({"unet": model})
        tolerance = 2 * ULP[torch.bfloat16] * plain.abs().max() if algorithm in ROUNDED else 0
        assert (model(inputs(model)) - plain).abs().max() <= tolerance


@algorithms
def test_a_new_adapter_can_learn(algorithm: str, kind: str) -> None:
    """It changes nothing, yet some parameter has a gradient: not a dead point."""
    model = model_of(kind)
    network = network_in(model, algorithm, seed=None)
    network.insert({"unet": model})
    (model(inputs(model)) - 1).square().sum().backward()  # rotations cannot change the sum of the squares themselves
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


# ---- law 2: what is saved comes back ----


@algorithms
@pytest.mark.parametrize("saved", DTYPES, ids=str)
def test_save_and_load_is_exact_at_the_saved_precision(algorithm: str, kind: str, saved: torch.dtype, tmp_path: Path) -> None:
    model = model_of(kind)
    network = network_in(model, algorithm)
    tensors = {name: tensor if name.endswith(".alpha") else tensor.to(saved) for name, tensor in network.tensors().items()}
    write_adapter(tmp_path / "x.safetensors", tensors, {"ss_network_dim": "3"})
    loaded = Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1")
    assert loaded.match.matched == loaded.match.total == 1
    assert loaded.refs == network.refs == {"lora_unet_mid_block": ModuleRef("unet", "mid_block")}
    again = loaded.tensors()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensor.float()) and again[name].shape == tensor.shape for name, tensor in tensors.items())
    assert {name.removeprefix("lora_unet_mid_block.") for name in tensors} <= set(type(only(loaded)).suffixes)


@algorithms
def test_a_loaded_adapter_acts_like_the_saved_one(algorithm: str, kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    network = network_in(model, algorithm)
    write_adapter(tmp_path / "x.safetensors", network.tensors(), {})
    results = []
    for each in (network, Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1")):
        each.insert({"unet": model})
        results.append(model(inputs(model)))
        each.remove()
    if algorithm in EXPORTED:
        torch.testing.assert_close(*results, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(*results)


# ---- law 3: strength 0 is the base ----


@algorithms
@dtypes
def test_strength_zero_is_the_base_bit_for_bit(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    model = model_of(kind, dtype)
    x, plain, weights = inputs(model), model(inputs(model)), state(model)
    network = network_in(model, algorithm)
    network.insert({"unet": model}, {"unet": 0.0})
    assert torch.equal(model(x), plain)
    network.remove()
    network.insert({"unet": model})
    assert not torch.equal(model(x), plain)
    network.strengths = {"unet": 0.0}
    assert torch.equal(model(x), plain)
    network.remove()
    merged(model, (network, 0.0))
    assert same_bits(state(model), weights)


# ---- law 4: merged is unmerged ----


@algorithms
@dtypes
@pytest.mark.parametrize("strength", [1.0, -0.7])
def test_merged_equals_unmerged(algorithm: str, kind: str, dtype: torch.dtype, strength: float) -> None:
    model = model_of(kind, dtype)
    x = inputs(model)
    network = network_in(model, algorithm)
    network.insert({"unet": model}, {"unet": strength})
    beside = model(x)
    network.remove()
    merged(model, (network, strength))
    inside = model(x)
    assert inside.dtype == beside.dtype == dtype
    scale = beside.float().abs().max()
    tolerance = 1e-5 if dtype == torch.float32 else 2 * ULP[dtype] * scale
    assert (inside.float() - beside.float()).abs().max() <= tolerance


# ---- the training forward is the closed form ----


@algorithms
def test_forward_and_gradients_are_those_of_the_deltas(algorithm: str, kind: str) -> None:
    """W + s * deltas, put through the layer by autograd, against the forward that training uses."""
    model = model_of(kind).double()
    network = network_in(model, algorithm).double()
    adapter = only(network)
    x = inputs(model).requires_grad_()
    target = torch.randn(model(x).shape, generator=torch.Generator().manual_seed(5)).double()

    weights = dict(model.mid_block.named_parameters())
    deltas = adapter.deltas(weights)
    assert all(delta.shape == weights[name].shape for name, delta in deltas.items())
    moved = {name: weight + 0.6 * deltas[name] if name in deltas else weight for name, weight in weights.items()}
    closed = torch.func.functional_call(model.mid_block, moved, (x,))
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    wanted = torch.autograd.grad((closed * target).sum(), [x, *learning])

    network.insert({"unet": model}, {"unet": 0.6})
    given = model(x)
    gradients = torch.autograd.grad((given * target).sum(), [x, *learning])
    torch.testing.assert_close(given, closed, rtol=1e-9, atol=1e-9)
    for gradient, right in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, right, rtol=1e-8, atol=1e-8)


@algorithms
def test_a_faster_forward_is_the_plain_one(algorithm: str, kind: str) -> None:
    """Whatever an algorithm puts in its place, `Adapter.forward` is the reference."""
    model = model_of(kind)
    adapter, x, y = only(network_in(model, algorithm)), inputs(model), model(inputs(model))
    reference = Adapter.forward(adapter, x, y, model.mid_block)
    torch.testing.assert_close(adapter(x, y, model.mid_block), reference, rtol=1e-5, atol=1e-5)


# ---- several at once, and taking them out ----


@algorithms
@dtypes
def test_two_networks_add_up_in_any_order(algorithm: str, kind: str, dtype: torch.dtype) -> None:
    model = model_of(kind, dtype)
    x = inputs(model)
    first, second = network_in(model, algorithm, seed=7), network_in(model, algorithm, seed=8)
    beside, inside = [], []
    for order in ([(first, 0.5), (second, -1.2)], [(second, -1.2), (first, 0.5)]):
        for network, strength in order:
            network.insert({"unet": model}, {"unet": strength})
        beside.append(model(x))
        for network, _ in order:  # in the order they came, not the reverse
            network.remove()
        merger = merged(model, *order)
        inside.append(model(x))
        merger.restore()
    assert torch.equal(*beside) and torch.equal(*inside)
    weights = dict(model.mid_block.named_parameters())
    deltas = [only(network).deltas(weights) for network in (first, second)]
    moved = {
        name: weight.float() + sum(s * d[name] for s, d in zip((0.5, -1.2), deltas, strict=True))
        if name in deltas[0]
        else weight.float()
        for name, weight in weights.items()
    }
    closed = torch.func.functional_call(model.mid_block, moved, (x.float(),))
    scale = closed.abs().max()
    tolerance = 1e-5 * scale if dtype == torch.float32 else 2 * ULP[dtype] * scale
    for result in (*beside, *inside):
        assert (result.float() - closed).abs().max() <= tolerance


@algorithms
def test_the_same_network_twice_counts_twice(algorithm: str, kind: str) -> None:
    model = model_of(kind)
    x = inputs(model)
    network = network_in(model, algorithm)
    network.insert({"unet": model}, {"unet": 0.5})
    network.insert({"unet": model}, {"unet": 0.3})
    twice = model(x)
    network.remove()
    network.insert({"unet": model}, {"unet": 0.8})
    torch.testing.assert_close(twice, model(x), rtol=1e-5, atol=1e-5)
    network.remove()
    merged(model, (network, 0.5), (network, 0.3))
    torch.testing.assert_close(model(x), twice, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("one", CASES)
@pytest.mark.parametrize("two", CASES)
@pytest.mark.parametrize("kind", ["linear", "conv 3x3"])
def test_any_two_algorithms_add_up(one: str, two: str, kind: str) -> None:
    model = model_of(kind)
    if not all(ADAPTERS[CASES[case].kind].adapts(LayerShape.of(model.mid_block)) for case in (one, two)):  # type: ignore[attr-defined]
        return
    x, plain = inputs(model), model(inputs(model))
    networks = network_in(model, one, seed=7), network_in(model, two, seed=8)
    changes = []
    for network in networks:
        network.insert({"unet": model})
        changes.append(model(x) - plain)
        network.remove()
    for network in networks:
        network.insert({"unet": model})
    both = model(x)
    for network in networks:
        network.remove()
    scale = both.abs().max()
    assert (both - plain - changes[0] - changes[1]).abs().max() <= 1e-5 * scale
    merged(model, (networks[1], 1.0), (networks[0], 1.0))
    assert (model(x) - both).abs().max() <= 1e-5 * scale


@algorithms
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)], ids=str)
def test_removal_leaves_no_trace(algorithm: str, kind: str, order: tuple[int, ...]) -> None:
    model = model_of(kind)
    x, plain, keys = inputs(model), model(inputs(model)), list(model.state_dict())
    networks = [network_in(model, algorithm, seed) for seed in (11, 12, 13)]
    for network in networks:
        network.insert({"unet": model})
        assert list(model.state_dict()) == keys
    for number in order:
        networks[number].remove()
    assert "forward" not in model.mid_block.__dict__
    assert list(model.state_dict()) == keys and torch.equal(model(x), plain)
    assert type(model.mid_block) is type(LAYERS[kind]()) and not model.mid_block._forward_hooks
    networks[0].remove()  # once more does no harm


@pytest.mark.parametrize("algorithm", [case for case, kind in pairs() if kind == "conv 3x3"])
@dtypes
def test_fifty_changes_through_the_merger_end_bit_identical(algorithm: str, dtype: torch.dtype) -> None:
    models = {"unet": model_of("conv 3x3", dtype), "text_encoder": model_of("linear", dtype)}
    networks = [network_in(models["unet"], algorithm, seed) for seed in range(21, 26)]
    before, rng, merger = state(models["unet"]), random.Random(4), Merger(models)
    in_force: dict[int, float] = {}
    for _ in range(50):
        number = rng.randrange(len(networks))
        if number in in_force and rng.random() < 0.5:
            del in_force[number]
        else:
            in_force[number] = rng.choice((-1.0, 0.25, 0.8, 1.0, 3.0))
        merger.apply([Applied(networks[n], strength, strength, (n,)) for n, strength in in_force.items()])
        assert in_force == {} or not same_bits(state(models["unet"]), before)
    merger.apply([])
    assert same_bits(state(models["unet"]), before)


def test_layers_that_cannot_carry_an_adapter_are_named() -> None:
    for layer in (nn.LayerNorm(4, elementwise_affine=False), nn.Conv2d(4, 4, 3, groups=2), nn.Embedding(3, 4)):
        with pytest.raises(TypeError, match=type(layer).__name__):
            LayerShape.of(layer)
