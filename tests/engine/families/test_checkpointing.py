"""Gradient checkpointing: nothing changes but what is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from engine.families.blocks import blocks_of
from engine.families.checkpointing import checkpointing
from tests.support.networks import KINDS, adapters_in, equal, gradients, network, predict


def kept_by(kind: str, part: nn.Module) -> int:
    """Bytes of activations that a forward pass keeps."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*part.parameters(), *part.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()).data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = predict(kind, part)
    assert output.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_same_to_the_bit(kind: str) -> None:
    part = network(kind)
    adapters = adapters_in(part)
    plain, much = gradients(kind, part, adapters), kept_by(kind, part)
    assert len(plain) > 20
    for count in (0, 2):
        with checkpointing([part], count):
            assert equal(gradients(kind, part, adapters), plain)
            assert kept_by(kind, part) < much
    assert kept_by(kind, part) == much
    assert all("forward" not in block.__dict__ for block in blocks_of(part))


@pytest.mark.parametrize("kind", KINDS)
def test_each_more_block_keeps_less(kind: str) -> None:
    part = network(kind)
    adapters_in(part)

    def kept(count: int) -> int:
        with checkpointing([part], count):
            return kept_by(kind, part)

    kept_by_one, kept_by_all = kept(1), kept(0)
    assert kept_by_all < kept_by_one < kept_by(kind, part)
    assert kept(len(blocks_of(part))) == kept(1000) == kept_by_all


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hold_nearly_everything_and_none_is_inside_another(kind: str) -> None:
    with torch.device("meta"):
        part = network(kind, published=True)
    blocks = blocks_of(part)
    inside = [module for block in blocks for module in block.modules()]
    assert len(inside) == len({id(module) for module in inside})
    words = sum(module.weight.numel() for module in part.modules() if isinstance(module, nn.Embedding))
    held = sum(parameter.numel() for block in blocks for parameter in block.parameters())
    assert held > 0.9 * (sum(parameter.numel() for parameter in part.parameters()) - words)


def test_a_u_net_gives_its_outermost_blocks_first() -> None:
    part = network("unet")
    names = {id(module): path for path, module in part.named_modules()}
    order = [names[id(block)].rpartition(".")[0] for block in blocks_of(part)]
    levels = [next(i for i, side in enumerate(sides) if path.startswith(side)) for path in order for sides in [(
        ("down_blocks.0", "up_blocks.3"), ("down_blocks.1", "up_blocks.2"), ("down_blocks.2", "up_blocks.1"), ("down_blocks.3", "up_blocks.0", "mid"),
    )]]  # fmt: skip
    assert levels == sorted(levels) and set(levels) == {0, 1, 2, 3}


def test_pictures_are_made_as_before() -> None:
    part = network("unet")
    plain = predict("unet", part)
    with checkpointing([part]), torch.no_grad():
        assert torch.equal(predict("unet", part), plain)
