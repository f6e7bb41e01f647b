"""Full differences: LyCORIS' files, files with only a part, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.full import Full
from engine.adapters.layers import base_tensors
from engine.adapters.network import Network
from engine.config.adapter import FullOptions
from engine.errors import AdapterError
from engine.formats.adapter_file import read_adapter
from tests.support.layers import KINDS, adapted, changed, inputs_of, layer_of, randomised, with_lycoris

layers = pytest.mark.parametrize("kind", KINDS)


def random(tensor: Tensor, seed: int) -> Tensor:
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def read(path: Path, layer: nn.Module, tensors: dict[str, Tensor]) -> Network:
    save_file({f"lora_unet_mid_block.{name}": tensor for name, tensor in tensors.items()}, path)
    return Network.from_file(read_adapter(path), {"unet": nn.ModuleDict({"mid_block": layer})}, "sd1")


def trained(layer: nn.Module) -> tuple[dict[str, Tensor], Tensor]:
    """What LyCORIS saves after some training, and what the layer gave then."""
    module = pytest.importorskip("lycoris.modules.full").FullModule("x", layer)
    module.apply_to()
    randomised(module)
    with torch.no_grad():
        wanted = layer(inputs_of(layer))
    state = module.state_dict()
    module.restore()
    return state, wanted


@layers
def test_a_file_of_lycoris_does_what_it_did_there(kind: str, tmp_path: Path) -> None:
    layer = layer_of(kind)
    state, wanted = trained(layer)
    assert set(state) == {"diff", "diff_b"}
    network = read(tmp_path / "x.safetensors", layer, state)
    (ours,) = network.adapters.values()
    torch.testing.assert_close(adapted(layer, ours), wanted, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


def test_lycoris_adds_the_difference_twice_when_it_goes_on() -> None:
    theirs = pytest.importorskip("lycoris.modules.full").FullModule
    layer = layer_of("linear")
    state, wanted = trained(layer)
    with torch.no_grad():
        again = theirs.make_module_from_state_dict("x", layer, *map(state.get, theirs.weight_list))
        again.load_state_dict(state)
    twice = changed(layer, {"weight": 2 * state["diff"], "bias": 2 * state["diff_b"]})
    torch.testing.assert_close(with_lycoris(layer, again), twice, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(twice, wanted, atol=0.1)


@layers
@pytest.mark.parametrize("parts", [{"diff": "weight"}, {"diff_b": "bias"}], ids=["weight", "bias"])
def test_a_file_may_hold_only_one_of_the_two(kind: str, parts: dict[str, str], tmp_path: Path) -> None:
    layer = layer_of(kind)
    tensors = {suffix: random(getattr(layer, place), 3) for suffix, place in parts.items()}
    network = read(tmp_path / "x.safetensors", layer, tensors)
    (ours,) = network.adapters.values()
    assert network.tensors().keys() == {f"lora_unet_mid_block.{suffix}" for suffix in parts}
    wanted = changed(layer, {place: tensors[suffix] for suffix, place in parts.items()})
    torch.testing.assert_close(adapted(layer, ours), wanted, rtol=1e-5, atol=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"diff": torch.zeros(12, 7)}, r"diff is \(12, 7\) where \(12, 6\) is needed"),
        ({"diff": torch.zeros(12, 6, 1, 1)}, r"diff is \(12, 6, 1, 1\) where \(12, 6\) is needed"),
        ({"diff": torch.zeros(12, 6), "diff_b": torch.zeros(6)}, r"diff_b is \(6,\) where \(12,\) is needed"),
    ],
)
def test_other_shapes_are_refused(tensors: dict[str, Tensor], reason: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=reason) as caught:
        read(tmp_path / "x.safetensors", layer_of("linear"), tensors)
    assert caught.value.code == "adapter.wrong_shape"


def test_a_bias_for_a_layer_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="a bias, which the layer does not have"):
        read(tmp_path / "x.safetensors", nn.Linear(6, 12, bias=False), {"diff": torch.zeros(12, 6), "diff_b": torch.zeros(12)})


@pytest.mark.parametrize(
    ("bias", "train_bias", "suffixes"), [(True, True, {"diff", "diff_b"}), (True, False, {"diff"}), (False, True, {"diff"})]
)
def test_what_is_trained(bias: bool, train_bias: bool, suffixes: set[str]) -> None:
    layer = nn.Linear(6, 12, bias)
    options = FullOptions(train_bias=train_bias)
    full = Full.create(LayerShape.of(layer), base_tensors(layer), options, torch.Generator())
    assert full.tensors().keys() == suffixes and all(p.requires_grad and not p.any() for p in full.parameters())
