"""BOFT against LyCORIS, in both directions of the file, and on the widths that LyCORIS refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from engine.adapters.base import Adapter, LayerShape
from engine.adapters.boft import Boft
from engine.adapters.layers import base_tensors
from engine.adapters.network import Network
from engine.adapters.oft import Oft
from engine.config.adapter import BoftOptions
from engine.config.sizes import boft_block, most_stages
from engine.formats.adapter_file import read_adapter
from tests.support.layers import KINDS, adapted, changed, layer_of, randomised, with_lycoris

layers = pytest.mark.parametrize("kind", KINDS)
GENERATOR = torch.Generator()


def whole(boft: Boft) -> Tensor:
    """The rotation as a matrix, (out, out)."""
    channels = boft.oft_blocks.shape[1] * boft.oft_blocks.shape[-1]
    eye = torch.eye(channels)
    return eye + boft.deltas({"weight": eye})["weight"].detach()


@layers
@pytest.mark.parametrize("constraint", [0.0, 0.02])
@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("factors", [0, 2])
def test_the_change_is_that_of_lycoris(kind: str, constraint: float, rescaled: bool, factors: int) -> None:
    functional = pytest.importorskip("lycoris.functional.boft")
    layer = layer_of(kind, outputs=24)
    options = BoftOptions(block_size=6, constraint=constraint, rescaled=rescaled, factors=factors)
    boft = randomised(Boft.create(LayerShape.of(layer), {}, options, GENERATOR))
    assert boft.oft_blocks.shape == (factors or 3, 4, 6, 6)
    wanted = functional.diff_weight(layer.weight, boft.oft_blocks, boft.rescale, constraint=constraint * 24, backend="torch")
    torch.testing.assert_close(boft.deltas(base_tensors(layer))["weight"], wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(adapted(layer, boft), changed(layer, {"weight": wanted}), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "conv 3x3"])
@pytest.mark.parametrize("pixels", [2, 40, 400])
@pytest.mark.parametrize("outputs", [24, 160])
def test_whatever_is_turned_the_change_is_the_same(kind: str, pixels: int, outputs: int) -> None:
    """Outputs, the weight, or one matrix: what has the fewest columns."""
    layer = layer_of(kind, outputs=outputs)
    boft = randomised(Boft.create(LayerShape.of(layer), {}, BoftOptions(block_size=6, rescaled=True), GENERATOR))
    size = (1, pixels, 6) if kind == "linear" else (1, 6, pixels + 2, 3)
    x = torch.randn(size, generator=torch.Generator().manual_seed(1))
    wanted = Adapter.forward(boft, x, layer(x), layer)
    torch.testing.assert_close(boft(x, layer(x), layer), wanted, rtol=1e-5, atol=1e-5)


@layers
@pytest.mark.parametrize("rescaled", [False, True])
def test_files_go_to_lycoris_and_come_back(kind: str, rescaled: bool) -> None:
    theirs = pytest.importorskip("lycoris.modules.boft").ButterflyOFTModule
    layer = layer_of(kind, outputs=24)
    made = randomised(theirs("x", layer, lora_dim=6, constraint=0.02, rescaled=rescaled))
    ours = Boft.from_tensors(LayerShape.of(layer), made.state_dict())
    assert ours.tensors().keys() == made.state_dict().keys()
    with torch.no_grad():
        again = theirs.make_module_from_state_dict("x", layer, *map(ours.state_dict().get, theirs.weight_list))
    for module in (made, again):
        torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, module), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "wanted", "size", "stages"),
    [
        (24, 6, 6, 3),
        (768, 8, 6, 8),
        (640, 8, 10, 7),  # LyCORIS has no answer in blocks of up to 8
        (1280, 16, 20, 7),
        (2048, 8, 8, 9),
        (10, 8, 10, 1),
        (4, 8, 4, 1),
        (1144, 8, 8, 1),  # 2^3 * 143: all channels would need blocks of 286
        (2288, 8, 8, 2),
        (1262, 8, 2, 1),
    ],
)
def test_the_blocks_that_a_width_allows(channels: int, wanted: int, size: int, stages: int) -> None:
    assert boft_block(channels, wanted) == size
    blocks = Boft.create(LayerShape(channels, 3), {}, BoftOptions(block_size=wanted), GENERATOR).oft_blocks
    assert blocks.shape == (stages, channels // size, size, size)


def test_lycoris_refuses_widths_that_work_here() -> None:
    theirs = pytest.importorskip("lycoris.modules.boft").ButterflyOFTModule
    with pytest.raises(ValueError, match="impossible"):
        theirs("x", nn.Linear(3, 640), lora_dim=8)


@pytest.mark.parametrize(("channels", "size", "group"), [(24, 6, 24), (24, 2, 8), (40, 4, 8), (40, 10, 40)])
def test_every_channel_reaches_every_other_of_its_group(channels: int, size: int, group: int) -> None:
    """With blocks at random, the rotation is full within groups, empty outside, and stays a rotation."""
    stages = most_stages(channels // size)
    assert group == size * 2 ** (stages - 1)
    boft = Boft(torch.randn(stages, channels // size, size, size, generator=torch.Generator().manual_seed(4)), 0.0, None)
    matrix = whole(boft)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(channels), rtol=1e-5, atol=1e-5)
    inside = torch.block_diag(*torch.ones(channels // group, group, group)).bool()
    assert (matrix[inside] != 0).all() and (matrix[~inside] == 0).all()


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="even number of output channels, here are 15"):
        boft_block(15, 8)


@pytest.mark.parametrize("size", [(4, 4, 6, 6), (0, 4, 6, 6), (1, 8, 3, 3), (3, 24, 1, 1)])
def test_what_is_no_butterfly_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no butterfly over 24 channels") as caught:
        Boft.from_tensors(LayerShape(24, 6), {"oft_blocks": torch.zeros(size)})
    assert str(size) in str(caught.value)


def test_four_dimensions_tell_boft_from_oft_in_a_file(tmp_path: Path) -> None:
    model = nn.ModuleDict({"mid_block": layer_of("linear", outputs=24)})
    for size, kind in (((4, 6, 6), Oft), ((3, 4, 6, 6), Boft)):
        save_file({"lora_unet_mid_block.oft_blocks": torch.zeros(size)}, tmp_path / "x.safetensors")
        network = Network.from_file(read_adapter(tmp_path / "x.safetensors"), {"unet": model}, "sd1")
        assert [type(adapter) for adapter in network.adapters.values()] == [kind]
