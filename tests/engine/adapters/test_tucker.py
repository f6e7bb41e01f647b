"""Tucker's decomposition by its sum, and LoRA with it against LyCORIS."""

from __future__ import annotations

import pytest
import torch

from engine.adapters.base import LayerShape
from engine.adapters.lora import Lora
from engine.adapters.tucker import core_on, point, tucker
from engine.config.adapter import LoraOptions
from tests.support.layers import adapted, layer_of, randomised, with_lycoris

CONV = LayerShape(12, 6, (3, 3))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lora(shape: LayerShape = CONV, rank: int = 3) -> Lora:
    return Lora.create(shape, {}, LoraOptions(rank=rank, alpha=2, tucker=True), generator())


def test_the_sum_over_both_ranks() -> None:
    core, left, right = (torch.randn(size, generator=generator()) for size in ((2, 3, 3, 3), (2, 4), (3, 5)))
    wanted = torch.zeros(4, 5, 3, 3)
    for r in range(2):
        for s in range(3):
            wanted += core[r, s] * left[r].view(4, 1, 1, 1) * right[s].view(1, 5, 1, 1)
    torch.testing.assert_close(tucker(core, left, right), wanted)


def test_it_is_three_convolutions_one_after_the_other() -> None:
    core, left, right = (torch.randn(size, generator=generator()) for size in ((2, 3, 3, 3), (2, 4), (3, 5)))
    x = torch.randn(1, 5, 7, 7, generator=generator(1))
    conv = torch.nn.functional.conv2d
    inner = conv(conv(x, right.view(3, 5, 1, 1)), core)
    torch.testing.assert_close(conv(x, core_on(core, right)), inner, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(conv(x, tucker(core, left, right)), conv(inner, left.T.reshape(4, 2, 1, 1)), rtol=1e-5, atol=1e-5)


def test_sizes_of_lora_are_those_of_lycoris() -> None:
    sizes = {name: tuple(tensor.shape) for name, tensor in lora().tensors().items()}
    wanted = {"lora_down.weight": (3, 6, 1, 1), "lora_mid.weight": (3, 3, 3, 3), "lora_up.weight": (12, 3, 1, 1), "alpha": ()}
    assert sizes == wanted


@pytest.mark.parametrize("shape", [LayerShape(12, 6), point(CONV)], ids=["linear", "conv 1x1"])
def test_layers_that_see_one_pixel_have_no_core(shape: LayerShape) -> None:
    assert "lora_mid.weight" not in lora(shape).tensors()


def test_lycoris_computes_the_same_and_files_go_both_ways() -> None:
    module = pytest.importorskip("lycoris.modules.locon").LoConModule
    layer = layer_of("conv 3x3")
    ours = randomised(lora())
    theirs = module("x", layer, 1.0, 3, 2, use_tucker=True)
    assert not theirs.load_state_dict(ours.tensors(), strict=False).unexpected_keys
    torch.testing.assert_close(adapted(layer, ours), with_lycoris(layer, theirs), rtol=1e-5, atol=1e-5)
    again = Lora.from_tensors(CONV, theirs.custom_state_dict()).tensors()
    assert again.keys() == ours.tensors().keys() and all(torch.equal(again[name], ours.tensors()[name]) for name in again)


def test_the_bound_of_the_norm_holds() -> None:
    ours = randomised(Lora.create(CONV, {}, LoraOptions(rank=3, tucker=True, max_norm=0.5), generator()))
    Lora.after_step([ours], 1, 1)
    assert ours.change().detach().norm() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lora_mid.weight": torch.ones(3, 3, 5, 5)}, r"lora_mid.weight is \(3, 3, 5, 5\) where \(3, 3, 3, 3\) is needed"),
        ({"lora_mid.weight": torch.ones(2, 2, 3, 3)}, r"lora_mid.weight is \(2, 2, 3, 3\)"),
        ({"lora_down.weight": torch.ones(3, 6, 3, 3)}, r"lora_down.weight is \(3, 6, 3, 3\) where \(3, 6, 1, 1\) is needed"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(changed: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Lora.from_tensors(CONV, lora().tensors() | changed)
