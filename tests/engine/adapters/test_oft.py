"""OFT against LyCORIS' Diag-OFT, Kohya's OFT and the closed form, in both directions of the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.adapters.base import LayerShape
from engine.adapters.layers import base_tensors
from engine.adapters.network import Network
from engine.adapters.oft import Oft
from engine.config.adapter import OftOptions
from engine.config.sizes import oft_block
from engine.formats.adapter_file import read_adapter
from tests.support.layers import KINDS, adapted, changed, inputs_of, layer_of, randomised, with_lycoris

layers = pytest.mark.parametrize("kind", KINDS)
GENERATOR = torch.Generator()


def kohya_weight(weight: Tensor, blocks: Tensor, alpha: float) -> Tensor:
    """Kohya's formula, written out: alpha * out bounds the norm; (I + Q)(I - Q)^-1 is laid on from the left, transposed."""
    q = blocks - blocks.transpose(1, 2)
    norm = torch.norm(q.flatten())
    q = q * ((norm.clamp(max=alpha * weight.shape[0]) + 1e-8) / (norm + 1e-8))
    eye = torch.eye(q.shape[-1]).expand_as(q)
    whole = torch.block_diag(*torch.bmm(eye + q, torch.inverse(eye - q)))
    return (whole.T @ weight.flatten(1)).view_as(weight)


@layers
@pytest.mark.parametrize("constraint", [0.0, 0.02])
@pytest.mark.parametrize("rescaled", [False, True])
def test_the_change_is_that_of_lycoris(kind: str, constraint: float, rescaled: bool) -> None:
    functional = pytest.importorskip("lycoris.functional.diag_oft")
    layer = layer_of(kind)
    oft = randomised(
        Oft.create(LayerShape.of(layer), {}, OftOptions(block_size=3, constraint=constraint, rescaled=rescaled), GENERATOR)
    )
    weights = oft.oft_blocks, oft.rescale
    wanted = functional.diff_weight(layer.weight, *weights, constraint=constraint * 12, backend="torch")
    torch.testing.assert_close(oft.deltas(base_tensors(layer))["weight"], wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(adapted(layer, oft), changed(layer, {"weight": wanted}), rtol=1e-5, atol=1e-5)


@layers
@pytest.mark.parametrize("rescaled", [False, True])
def test_files_go_to_lycoris_and_come_back(kind: str, rescaled: bool) -> None:
    theirs = pytest.importorskip("lycoris.modules.diag_oft").DiagOFTModule
    layer = layer_of(kind)
    made = randomised(theirs("x", layer, lora_dim=3, constraint=0.02, rescaled=rescaled))
    ours = Oft.from_tensors(LayerShape.of(layer), made.state_dict())
    assert ours.tensors().keys() == made.state_dict().keys()
    with torch.no_grad():
        again = theirs.make_module_from_state_dict("x", layer, *map(ours.state_dict().get, theirs.weight_list))
    for module in (made, again):
        torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, module), rtol=1e-5, atol=1e-5)


@layers
@pytest.mark.parametrize("alpha", [1e-3, 0.05, 10.0])
def test_files_of_kohyas_oft_are_read(kind: str, alpha: float, tmp_path: Path) -> None:
    """Two large blocks, under Kohya's prefix; in half precision, as his trainer saves."""
    model = nn.ModuleDict({"mid_block": layer_of(kind)})
    layer = model["mid_block"]
    x = inputs_of(layer)
    blocks = (torch.randn(2, 6, 6, generator=torch.Generator().manual_seed(3)) * 0.2).half()
    save_file(
        {"oft_unet_mid_block.oft_blocks": blocks, "oft_unet_mid_block.alpha": torch.tensor(alpha).half()},
        tmp_path / "x.safetensors",
    )
    network = Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1")
    weight = kohya_weight(layer.weight, blocks.float(), float(torch.tensor(alpha).half()))
    wanted = torch.func.functional_call(layer, {"weight": weight}, (x,))
    assert not torch.allclose(layer(x), wanted, atol=1e-4)
    network.insert({"unet": model})
    torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)


def test_lengths_within_a_block_stay_until_rescaled() -> None:
    layer = layer_of("conv 3x3")
    oft = randomised(Oft.create(LayerShape.of(layer), {}, OftOptions(block_size=4), GENERATOR))
    moved = layer.weight + oft.deltas(base_tensors(layer))["weight"]
    lengths = [weight.unflatten(0, (3, 4)).norm(dim=1) for weight in (layer.weight, moved)]
    assert not torch.allclose(layer.weight, moved, atol=0.1)
    torch.testing.assert_close(*lengths, rtol=1e-5, atol=1e-5)


@layers
def test_a_forward_solves_once_and_leaves_the_weight_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, calls, solve = layer_of(kind), [], torch.linalg.solve
    oft = Oft.create(LayerShape.of(layer), {}, OftOptions(block_size=3, rescaled=True, constraint=0.1), GENERATOR)
    monkeypatch.setattr(torch.linalg, "solve", lambda *args: calls.append(args) or solve(*args))
    x = inputs_of(layer)
    y = layer(x)
    layer.weight = None  # type: ignore[assignment]
    oft(x, y, layer).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("channels", "options", "size"),
    [
        (320, OftOptions(block_size=8), 8),
        (320, OftOptions(block_size=7), 5),
        (35, OftOptions(block_size=4), 5),  # no divisor up to 4
        (127, OftOptions(block_size=8), 127),
        (320, OftOptions(blocks=4), 80),
        (320, OftOptions(blocks=7), 64),  # 5 blocks
        (6, OftOptions(blocks=100), 2),
    ],
)
def test_the_block_that_a_width_allows(channels: int, options: OftOptions, size: int) -> None:
    assert oft_block(channels, options) == size
    blocks = Oft.create(LayerShape(channels, 3), {}, options, GENERATOR).oft_blocks
    assert blocks.shape == (channels // size, size, size)


def test_what_cannot_rotate_is_refused() -> None:
    with pytest.raises(ValueError, match="single output channel"):
        oft_block(1, OftOptions())
    for options in ({"block_size": 0}, {"block_size": 1}):
        with pytest.raises(ValidationError, match="cannot rotate"):
            OftOptions(**options)
