"""Streamed blocks: the same numbers to the bit, and never more than two of them on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.families.blocks import blocks_of
from engine.families.checkpointing import checkpointing
from engine.families.placing import place
from engine.families.quantise import EightBit
from engine.families.streaming import Stream
from tests.support.networks import DENOISERS, adapters_in, equal, gradients, network, predict

CPU = torch.device("cpu")


def streamed(kind: str, count: int, quantization: str = "none", dtype: torch.dtype = torch.float32) -> Any:
    return place(network(kind).to(dtype), CPU, quantization, count)


def stream_of(part: nn.Module) -> Stream:
    return next(block.forward.stream for block in blocks_of(part) if "forward" in block.__dict__)


def visitors(part: nn.Module) -> list[int]:
    """The streamed blocks that are on the device now, told by the memory their tensors lie in."""
    stream = stream_of(part)
    slots = {slot.untyped_storage().data_ptr() for slot in stream.slots}
    return [
        number
        for number, host in enumerate(stream.hosts)
        if any(tensor.untyped_storage().data_ptr() in slots for tensor in host.tensors)
    ]


@contextmanager
def watched(part: nn.Module) -> Iterator[list[list[int]]]:
    """Notes who is on the device whenever a block has begun."""
    seen: list[list[int]] = []
    handles = [
        next(block.children()).register_forward_pre_hook(lambda *_: seen.append(visitors(part))) for block in blocks_of(part)
    ]
    yield seen
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(("kind", "count"), [*((kind, 1000) for kind in DENOISERS), ("flux", 3)])
def test_outputs_and_gradients_are_the_same_to_the_bit(kind: str, count: int) -> None:
    plain = network(kind)
    wanted = gradients(kind, plain, adapters_in(plain))
    part = streamed(kind, count)
    adapters = adapters_in(part)
    with watched(part) as seen:
        for _ in range(2):  # the first round learns the order
            assert equal(gradients(kind, part, adapters), wanted)
        with torch.no_grad():
            assert torch.equal(predict(kind, part), wanted["output"])
    assert len(stream_of(part).hosts) == min(count, len(blocks_of(part)))
    assert seen and all(len(present) <= 1 for present in seen)
    assert {slot.numel() for slot in stream_of(part).slots} == {max(host.size for host in stream_of(part).hosts)}
    with checkpointing([part]):  # of the others
        assert equal(gradients(kind, part, adapters), wanted)


@pytest.mark.parametrize("how", ["nf4", "int8", "fp8"])
@pytest.mark.parametrize("kind", ["unet", "flux"])
def test_quantised_blocks_are_streamed_too(kind: str, how: str) -> None:
    if how == "nf4":
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not made for this system")
    plain = place(network(kind), CPU, how)
    wanted = gradients(kind, plain, adapters_in(plain))
    part = streamed(kind, 1000, how)
    adapters = adapters_in(part)
    for _ in range(2):
        assert equal(gradients(kind, part, adapters), wanted)
    away = {id(tensor) for block in blocks_of(part) for tensor in (*block.parameters(), *block.buffers())}
    assert away <= {id(tensor) for host in stream_of(part).hosts for tensor in host.tensors}


class BasicTransformerBlock(nn.Module):
    """A block of nothing but a quantised layer, whose backward pass looks at nothing else first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_quantised_weights_are_on_the_device_whenever_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    part = place(nn.Sequential(*(BasicTransformerBlock() for _ in range(4))).requires_grad_(False), CPU, "fp8", 4)
    slots = {slot.untyped_storage().data_ptr() for slot in stream_of(part).slots}
    plain, used = EightBit.dequantised, list[bool]()

    def noting(layer: EightBit, dtype: torch.dtype) -> Tensor:
        used.append(layer.weight.untyped_storage().data_ptr() in slots)
        return plain(layer, dtype)

    monkeypatch.setattr(EightBit, "dequantised", noting)
    part(torch.ones(1, 64, requires_grad=True)).sum().backward()
    assert used == [True] * (4 + 4 + 4)  # forward, again, backward


def test_half_precision() -> None:
    wanted = predict("flux", network("flux").to(torch.bfloat16), torch.bfloat16)
    assert torch.equal(predict("flux", streamed("flux", 1000, dtype=torch.bfloat16), torch.bfloat16), wanted)


def test_after_the_first_round_every_block_is_there_before_it_is_called() -> None:
    part = streamed("flux", 1000)
    adapters, stream = adapters_in(part), stream_of(part)
    late: list[int] = []
    bring = stream.bring

    def noting(number: int) -> None:
        late.extend([] if number in stream.holds else [number])
        bring(number)

    stream.bring = noting  # type: ignore[method-assign]
    gradients("flux", part, adapters)
    gradients("flux", part, adapters)
    assert late
    late.clear()
    for _ in range(2):
        gradients("flux", part, adapters)
    assert late == []
    with torch.no_grad():
        predict("flux", part), predict("flux", part)
        late.clear()
        predict("flux", part)
    assert late == []


def test_a_block_that_is_away_lies_in_one_piece_of_main_memory() -> None:
    part = streamed("flux", 1000)
    for host in stream_of(part).hosts:
        assert len({tensor.untyped_storage().data_ptr() for tensor in host.tensors}) == 1
    before: dict[str, Tensor] = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    predict("flux", part)
    assert equal(dict(part.state_dict()), before) and equal(before, dict(network("flux").state_dict()))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA card")
def test_on_a_card() -> None:
    device = torch.device("cuda")
    with device:
        wanted = predict("unet", network("unet").to(device))
        part = place(network("unet").cpu(), device, streamed=1000)
        for _ in range(3):
            assert torch.allclose(predict("unet", part), wanted, atol=1e-5)
    away = [tensor.device.type for host in stream_of(part).hosts for tensor in host.tensors]
    assert away.count("cpu") > away.count("cuda")
