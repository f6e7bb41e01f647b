"""Merging across components, what is touched, where originals come from, and what happens when it fails on the way."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from tests.support.targets import targets


@pytest.fixture
def components() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "unet": nn.Sequential(nn.Linear(4, 4), nn.Conv2d(4, 4, 3), nn.Linear(4, 4)).requires_grad_(False),
        "text_encoder": nn.Sequential(nn.Linear(4, 4)).requires_grad_(False),
    }


def network(components: dict[str, nn.Module], seed: int = 0) -> Network:
    paths = {"unet": ["0", "1", "2"], "text_encoder": ["0"]}
    made = Network.create("sd1", components, targets(paths, LoraOptions(rank=2, conv_rank=2)), seed)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(seed))
    return made.eval().requires_grad_(False)


def weights(part: nn.Module) -> list[torch.Tensor]:
    return [parameter.clone() for parameter in part.parameters()]


def same(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, one, two))


@pytest.mark.parametrize(("text_encoder", "unet"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (0.5, 0.5)])
def test_each_component_has_its_own_strength(components: dict[str, nn.Module], text_encoder: float, unet: float) -> None:
    before = {name: weights(part) for name, part in components.items()}
    Merger(components).apply([Applied(network(components), text_encoder, unet, ("x",))])
    assert same(weights(components["text_encoder"]), before["text_encoder"]) == (text_encoder == 0)
    assert same(weights(components["unet"]), before["unet"]) == (unet == 0)


def test_every_text_encoder_has_the_strength_on_text() -> None:
    applied = Applied(None, 0.25, 0.75, ())  # type: ignore[arg-type]
    parts = ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer")
    assert [applied.strength(part) for part in parts] == [0.25, 0.25, 0.25, 0.75, 0.75]


def test_tensors_are_changed_in_place(components: dict[str, nn.Module]) -> None:
    """An optimizer, a hook or a cast holds the same tensors afterwards."""
    held = [parameter.data_ptr() for parameter in components["unet"].parameters()]
    merger = Merger(components)
    merger.apply([Applied(network(components), 1, 1, ("x",))])
    merger.restore()
    assert held == [parameter.data_ptr() for parameter in components["unet"].parameters()]


def test_the_same_request_again_does_nothing(components: dict[str, nn.Module]) -> None:
    merger, entry = Merger(components), Applied(network(components), 1, 1, ("x",))
    merger.apply([entry])
    versions = [parameter._version for parameter in components["unet"].parameters()]
    merger.apply([entry])
    assert versions == [parameter._version for parameter in components["unet"].parameters()]
    merger.apply([Applied(entry.network, 1, 0.5, ("x",))])
    assert versions != [parameter._version for parameter in components["unet"].parameters()]


def test_a_file_that_changed_is_merged_anew(components: dict[str, nn.Module]) -> None:
    merger = Merger(components)
    merger.apply([Applied(network(components, 1), 1, 1, ("x", 1))])
    first = weights(components["unet"])
    merger.apply([Applied(network(components, 2), 1, 1, ("x", 2))])
    assert not same(weights(components["unet"]), first)
    merger.apply([Applied(network(components, 1), 1, 1, ("x", 3))])
    assert same(weights(components["unet"]), first)


def test_a_failure_halfway_is_undone_by_the_next_request(
    components: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, merger, broken = weights(components["unet"]), Merger(components), network(components)
    last = broken.adapters["lora_unet_2"]
    monkeypatch.setattr(last, "deltas", lambda base: (_ for _ in ()).throw(MemoryError("no room")))
    with pytest.raises(MemoryError):
        merger.apply([Applied(broken, 1, 1, ("x",))])
    assert not same(weights(components["unet"]), before)
    merger.apply([])
    assert same(weights(components["unet"]), before)


# ---- what is touched ----


def versions(part: nn.Module) -> list[int]:
    return [parameter._version for parameter in part.parameters()]


def test_layers_that_stay_the_same_are_not_touched(components: dict[str, nn.Module]) -> None:
    made, merger = network(components), Merger(components)
    merger.apply([Applied(made, 1, 1, ("x",), {"lora_unet_2": 0.5})])
    text, drawing = versions(components["text_encoder"]), versions(components["unet"])
    merger.apply([Applied(made, 1, 1, ("x",), {"lora_unet_2": 0.25})])
    assert versions(components["text_encoder"]) == text
    assert [one != two for one, two in zip(versions(components["unet"]), drawing, strict=True)] == [False] * 4 + [True, False]


def test_a_factor_counts_in_its_layer_alone(components: dict[str, nn.Module]) -> None:
    """A merged factor is exactly that strength, 0 leaves the layer alone, and unmerged it is the same."""
    made, before = network(components), {name: part.weight.clone() for name, part in components["unet"].named_children()}
    merger, factors = Merger(components), {"lora_unet_0": 0.0, "lora_unet_1": -0.5}
    merger.apply([Applied(made, 1, 0.8, ("x",), factors)])
    merged = {name: part.weight.clone() for name, part in components["unet"].named_children()}
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    outputs = [components["unet"][number](x) for number in (0, 2)]
    merger.restore()
    for name, strength in (("0", 0.0), ("1", -0.4), ("2", 0.8)):
        change = made.adapters[f"lora_unet_{name}"].deltas({"weight": before[name]})["weight"]  # type: ignore[operator]
        assert torch.allclose(merged[name], before[name] + strength * change, atol=1e-6)
    assert torch.equal(merged["0"], before["0"])
    made.insert(components, {"unet": 0.8, "text_encoder": 1}, factors)
    assert "forward" not in components["unet"][0].__dict__
    assert all(torch.allclose(components["unet"][number](x), y, atol=1e-5) for number, y in zip((0, 2), outputs, strict=True))
    made.remove()


def test_the_same_adapter_twice_is_one_with_both_strengths(components: dict[str, nn.Module]) -> None:
    made, before = network(components), weights(components["unet"])
    merger = Merger(components)
    merger.apply([Applied(made, 1, 1.25, ("x",))])
    once = weights(components["unet"])
    merger.apply([Applied(made, 0.25, 0.25, ("x",)), Applied(made, 0.75, 1.0, ("x",))])
    assert same(weights(components["unet"]), once)
    merger.apply([Applied(made, 1, 1, ("x",)), Applied(made, -1, -1, ("x",))])
    assert same(weights(components["unet"]), before)


# ---- where originals come from ----


class File:
    """The originals of a model's unet, as its file has them."""

    def __init__(self, components: dict[str, nn.Module]) -> None:
        self.unet = {name: tensor.clone() for name, tensor in components["unet"].named_parameters()}
        self.asked: list[str] = []

    def has(self, component: str) -> bool:
        return component == "unet"

    def read(self, component: str, names: Sequence[str]) -> dict[str, torch.Tensor]:
        assert component == "unet"
        self.asked += names
        return {name: self.unet[name].clone() for name in names}


def test_without_room_originals_are_read_again(components: dict[str, nn.Module]) -> None:
    before, file, kept = weights(components["unet"]), File(components), Merger(components)
    entries = [Applied(network(components, seed), 0, 1, (seed,)) for seed in (1, 2)]
    kept.apply(entries[1:])
    wanted = weights(components["unet"])
    kept.restore()
    merger = Merger(components, file, free=lambda: 0)
    assert merger.apply(entries[:1]) and file.asked == []  # they are there
    assert merger.apply(entries[1:]) and set(file.asked) == set(file.unet)
    assert same(weights(components["unet"]), wanted)
    merger.restore()
    assert same(weights(components["unet"]), before)


def test_without_room_or_file_nothing_is_merged(components: dict[str, nn.Module]) -> None:
    free = [10**9]
    merger = Merger(components, File(components), free=lambda: free[0])
    before = {name: weights(part) for name, part in components.items()}
    assert merger.apply([Applied(network(components), 0, 1, ("x",))])
    free[0] = 0
    assert not merger.apply([Applied(network(components), 1, 1, ("x",))])  # of text encoders there is no file
    assert all(same(weights(part), before[name]) for name, part in components.items())
    free[0] = 10**9
    assert merger.apply([Applied(network(components), 1, 1, ("x",))])


def test_room_comes_and_goes_without_a_trace(components: dict[str, nn.Module]) -> None:
    """Fifty changes, the originals of some layers kept and of some read again, in any order."""
    generator, free = torch.Generator().manual_seed(3), [0]
    before, merger = weights(components["unet"]), Merger(components, File(components), free=lambda: free[0])
    networks = [network(components, seed) for seed in range(3)]
    for _ in range(50):
        draw = torch.rand(8, generator=generator).tolist()
        free[0] = 10**9 if draw[0] < 0.5 else 0
        factors = {f"lora_unet_{number}": float(draw[1 + number] < 0.7) for number in range(3)}
        chosen = [number for number in range(3) if draw[4 + number] < 0.6]
        assert merger.apply([Applied(networks[number], 0, draw[7] + 0.1, (number,), factors) for number in chosen])
        if not chosen:
            assert same(weights(components["unet"]), before)
    merger.restore()
    assert same(weights(components["unet"]), before)
