"""A loaded model at its place: number formats, what is quantised, what stays in main memory."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.families import load_model, placing
from engine.families.loading import load_parts
from engine.families.parking import size_of
from engine.families.placing import settle
from engine.families.quantise import FORMATS, Quantised
from engine.model_facts import model_facts
from engine.tiny import make_tiny
from tests.support.networks import network

CPU = torch.device("cpu")


def quantised_in(part: nn.Module) -> int:
    return sum(isinstance(module, Quantised) for module in part.modules())


def test_a_vae_that_overflows_float16_stays_float32(tmp_path: Path) -> None:
    folder = make_tiny("sd1", tmp_path / "sd1")
    half, brain = (load_model(folder, CPU, dtype) for dtype in (torch.float16, torch.bfloat16))
    assert (half.vae.dtype, half.denoiser.dtype, half.parts["text_encoder"].dtype) == (
        torch.float32,
        torch.float16,
        torch.float16,
    )
    assert brain.vae.dtype == torch.bfloat16
    exact = load_model(folder, CPU, torch.float32).vae
    assert all(torch.equal(one, other) for one, other in zip(half.vae.parameters(), exact.parameters(), strict=True))


def test_the_denoiser_and_large_text_encoders_are_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"text_encoder": "clip", "text_encoder_2": "t5", "transformer": "flux", "vae": "t5"}
    parts = {name: network(kind) for name, kind in kinds.items()}
    sizes = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    monkeypatch.setattr(placing, "LARGE", sizes["text_encoder_2"])
    assert sizes["text_encoder"] < sizes["text_encoder_2"] == sizes["vae"]
    settle(parts.items(), "transformer", CPU, "int8", streamed_blocks=1)
    assert {name for name, part in parts.items() if quantised_in(part)} == {"text_encoder_2", "transformer"}
    assert not any(parameter.requires_grad for part in parts.values() for parameter in part.parameters())


def test_without_room_the_rest_stays_in_main_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[str] = []

    class Part(nn.Linear):
        def to(self, *args: object, **kwargs: object) -> Part:
            came.append("vae")
            return self

    for free, expected in ((10**3, []), (10**9, ["vae"])):
        came.clear()
        monkeypatch.setattr(placing, "free_memory", lambda device, free=free: free)
        settle([("unet", nn.Linear(8, 8)), ("vae", Part(64, 64))], "unet", CPU)
        assert came == expected


@pytest.fixture
def frozen() -> Iterator[None]:
    """What there is by now is not looked at, so that looking takes no time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def live_bytes() -> int:
    """Bytes of all tensors made since `frozen`, files that are mapped into memory included."""
    tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor) and each.device.type == "cpu"]
    return sum({each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())


@pytest.mark.parametrize("single_file", [False, True])
def test_one_part_at_a_time_is_in_memory_in_full(
    single_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    place = tmp_path / ("tiny.safetensors" if single_file else "tiny")
    facts = model_facts(make_tiny("flux", place, single_file=single_file))
    full = {name: size_of(part) for name, part in load_parts(facts, torch.float32)}
    monkeypatch.setattr(placing, "LARGE", 10_000)
    int8, loaded, left = FORMATS["int8"], {}, []
    request.getfixturevalue("frozen")
    before = live_bytes()

    def watched() -> Iterator[tuple[str, nn.Module]]:
        for name, part in load_parts(facts, torch.float32):
            loaded[name] = live_bytes() - before
            yield name, part

    def watched_int8(layer: nn.Linear) -> Quantised:
        left.append(live_bytes() - before)
        return int8(layer)

    monkeypatch.setitem(FORMATS, "int8", watched_int8)
    parts = settle(watched(), "transformer", CPU, "int8")
    final = {name: size_of(part) for name, part in parts.items()}
    assert 2 * final["transformer"] < full["transformer"] and 2 * final["text_encoder_2"] < full["text_encoder_2"]
    ready = 0
    for name in parts:
        assert loaded[name] == ready + full[name], name
        ready += final[name]
    starts = [number for number, size in enumerate(left) if number == 0 or size >= left[number - 1]]
    assert [left[start] for start in starts] == [loaded["transformer"], loaded["text_encoder_2"]], "each layer frees memory"


def test_parts_are_the_same_as_when_all_are_loaded_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = model_facts(make_tiny("flux", tmp_path / "tiny"))
    monkeypatch.setattr(placing, "LARGE", 10_000)
    at_once = sorted(load_parts(facts, torch.bfloat16))
    ways = load_parts(facts, torch.bfloat16), at_once
    one, other = (settle(loaded, "transformer", CPU, "fp8", streamed_blocks=1) for loaded in ways)
    assert one.keys() == other.keys() == facts.sources.keys()
    for name, part in one.items():
        states = part.state_dict(), other[name].state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items()), name
