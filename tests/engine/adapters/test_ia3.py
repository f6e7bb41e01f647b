"""(IA)³ against LyCORIS and AUTOMATIC1111, and LyCORIS' own files, which it cannot read itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.ia3 import Ia3
from engine.adapters.network import Network
from engine.config.adapter import Ia3Options
from engine.formats.adapter_file import read_adapter
from tests.support.layers import KINDS, adapted, changed, inputs_of, layer_of, randomised, with_lycoris

layers = pytest.mark.parametrize("kind", KINDS)
sides = pytest.mark.parametrize("on_input", [False, True], ids=["output", "input"])


def lycoris(layer: nn.Module, on_input: bool) -> nn.Module:
    return randomised(pytest.importorskip("lycoris.modules.ia3").IA3Module("x", layer, train_on_input=on_input))


@layers
@sides
def test_a_file_of_lycoris_does_what_it_did_there(kind: str, on_input: bool, tmp_path: Path) -> None:
    layer = layer_of(kind)
    made = lycoris(layer, on_input)
    wanted = with_lycoris(layer, made)
    save_file({f"lora_unet_mid_block.{name}": tensor for name, tensor in made.state_dict().items()}, tmp_path / "x.safetensors")
    model = nn.ModuleDict({"mid_block": layer})
    network = Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1")
    network.insert({"unet": model})
    torch.testing.assert_close(layer(inputs_of(layer)), wanted, rtol=1e-5, atol=1e-5)


@layers
@sides
def test_a_new_one_has_the_tensors_of_lycoris(kind: str, on_input: bool) -> None:
    layer = layer_of(kind)
    ours = Ia3.create(LayerShape.of(layer), {}, Ia3Options(side="input" if on_input else "output"), torch.Generator()).tensors()
    theirs = lycoris(layer, on_input).state_dict()
    assert {name: tensor.shape for name, tensor in ours.items()} == {name: tensor.shape for name, tensor in theirs.items()}
    assert ours["on_input"] == theirs["on_input"] == on_input


def test_lycoris_cannot_read_its_own_file() -> None:
    module = pytest.importorskip("lycoris.modules.ia3").IA3Module
    layer = layer_of("linear")
    state = lycoris(layer, on_input=False).state_dict()
    with pytest.raises(TypeError):
        module.make_module_from_state_dict("x", layer, *map(state.get, module.weight_list))


@sides
def test_rows_or_columns_are_scaled_as_automatic1111_does(on_input: bool) -> None:
    layer = layer_of("linear")
    ours = Ia3.from_tensors(LayerShape.of(layer), {"weight": vector(on_input), "on_input": torch.tensor(int(on_input))})
    factors = vector(on_input) if on_input else vector(on_input).reshape(-1, 1)
    torch.testing.assert_close(adapted(layer, ours), changed(layer, {"weight": layer.weight * factors}), rtol=1e-5, atol=1e-5)


def vector(on_input: bool) -> Tensor:
    return torch.randn(6 if on_input else 12, generator=torch.Generator().manual_seed(3))


@layers
@sides
def test_the_bias_stays(kind: str, on_input: bool) -> None:
    """Scaled to nothing (w = -1), the layer gives its bias."""
    layer = layer_of(kind)
    size = (6 if on_input else 12,)
    ours = Ia3.from_tensors(LayerShape.of(layer), {"weight": -torch.ones(size), "on_input": torch.tensor(on_input)})
    given = adapted(layer, ours)
    assert (given.movedim(1 if given.dim() == 4 else -1, -1) - layer.bias).abs().max() < 1e-6  # type: ignore[operator]


def test_what_does_not_fit_is_refused() -> None:
    shape = LayerShape(12, 6)
    with pytest.raises(ValueError, match=r"weight is \(12,\) where \(6,\) is needed"):
        Ia3.from_tensors(shape, {"weight": torch.zeros(12), "on_input": torch.tensor(1)})
    with pytest.raises(ValueError, match="weight is missing"):
        Ia3.from_tensors(shape, {"on_input": torch.tensor(1)})
