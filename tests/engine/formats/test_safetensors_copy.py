from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.formats.safetensors_copy import copy_safetensors
from engine.formats.safetensors_header import read_header
from engine.formats.safetensors_reader import read_tensor

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([float("nan"), 1.0], dtype=torch.float16),
    "c": torch.arange(4, dtype=torch.bfloat16),
    "d": torch.tensor(3),
    "e": torch.empty(0, 4),
    "f": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "x.safetensors", {"who": "me"})
    return tmp_path / "x.safetensors"


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


def test_single_tensors_are_read_as_the_library_reads_them(file: Path) -> None:
    header, loaded = read_header(file), load_file(file)
    for name, tensor in loaded.items():
        found = read_tensor(file, header, name)
        assert found.dtype == tensor.dtype and found.shape == tensor.shape and bits(found) == bits(tensor)


def test_only_what_is_changed_changes(file: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    changed = {"a": lambda old: old.double() * 2, "c": lambda old: old}
    copy_safetensors(file, tmp_path / "y.safetensors", {"who": "you", "what": "猫"}, changed, lambda *at: seen.append(at))
    new = load_file(tmp_path / "y.safetensors")
    assert torch.equal(new.pop("a"), TENSORS["a"] * 2)
    assert all(bits(new[name]) == bits(TENSORS[name]) for name in new) and len(new) == 5
    assert read_header(tmp_path / "y.safetensors").metadata == {"who": "you", "what": "猫"}
    assert read_header(tmp_path / "y.safetensors").tensors == read_header(file).tensors
    assert seen == [(n + 1, 6) for n in range(6)]


def test_a_file_may_be_written_over_itself_or_not_at_all(file: Path) -> None:
    old = file.read_bytes()
    with pytest.raises(ModelError) as told:
        copy_safetensors(file, file, {}, {"a": lambda old: old * 1e39 * 1e30})
    assert told.value.code == "model.not_finite" and file.read_bytes() == old and len(list(file.parent.iterdir())) == 1
    copy_safetensors(file, file, {"new": "1"})
    assert read_header(file).metadata == {"new": "1"} and torch.equal(load_file(file)["a"], TENSORS["a"])
