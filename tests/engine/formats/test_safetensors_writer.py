"""Files that are written tensor by tensor."""

from __future__ import annotations

import hashlib
import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save

from engine.errors import ModelError
from engine.formats.lazy_tensor import LazyTensor, in_memory
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_writer import HASH, write_lazily

TENSORS = {
    "b": torch.arange(6, dtype=torch.float16).view(2, 3), "a": torch.ones(4), "c": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
    "d": torch.arange(3), "e": torch.empty(0, 4),
}  # fmt: skip


def test_the_payload_is_the_library_s_and_its_hash_stands_in_the_card(tmp_path: Path) -> None:
    file, seen = tmp_path / "x.safetensors", []
    write_lazily(file, in_memory(TENSORS), {"who": "猫"}, lambda *at: seen.append(at))
    header, content = read_header(file), file.read_bytes()
    payload = content[header.payload_offset :]
    reference = save(TENSORS)
    assert payload == reference[8 + int.from_bytes(reference[:8], "little") :]
    assert header.metadata == {"who": "猫", HASH: f"0x{hashlib.sha256(payload).hexdigest()}"}
    assert {name: tensor.dtype for name, tensor in load_file(file).items()} == {name: t.dtype for name, t in TENSORS.items()}
    assert seen == [(number, 5) for number in range(1, 6)]


def test_one_tensor_at_a_time_is_in_memory(tmp_path: Path) -> None:
    made: list[weakref.ref] = []

    def read() -> torch.Tensor:
        assert not any(ref() is not None for ref in made[:-1]), "more than the last is kept"
        tensor = torch.ones(1000)
        made.append(weakref.ref(tensor))
        return tensor

    write_lazily(tmp_path / "x.safetensors", {f"{number}": LazyTensor("F32", (1000,), read) for number in range(5)}, {})
    assert len(made) == 5 and not any(ref() is not None for ref in made)


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    tensors = in_memory({"a": torch.ones(2), "b": torch.tensor([1.0, float("inf")])})
    with pytest.raises(ModelError) as told:
        write_lazily(tmp_path / "x.safetensors", tensors, {})
    assert told.value.code == "model.not_finite" and told.value.values["tensor"] == "b" and not list(tmp_path.iterdir())
    with pytest.raises(ModelError) as told:
        write_lazily(tmp_path / "x.safetensors", {"a": in_memory({"a": torch.tensor([7e4])})["a"].rounded("F16")}, {})
    assert told.value.code == "model.not_finite"


def test_rounding_leaves_whole_numbers() -> None:
    lazy = in_memory(TENSORS)
    assert torch.equal(lazy["b"].rounded("F32").read(), TENSORS["b"].float()) and lazy["b"].rounded("F32").dtype == "F32"
    assert lazy["d"].rounded("F16") is lazy["d"]
