"""Merging across components, and what happens when it fails on the way."""

from __future__ import annotations

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
