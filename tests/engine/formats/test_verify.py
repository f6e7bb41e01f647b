"""A file is read to its last byte."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import EngineError
from engine.formats.adapter_writer import write_adapter
from engine.formats.hashes import adapter_hash
from engine.formats.verify import verify

TENSORS = {
    "lora_unet_conv_in.lora_down.weight": torch.ones(2, 4), "lora_unet_conv_in.lora_up.weight": torch.ones(4, 2),
    "lora_unet_conv_in.alpha": torch.tensor(1.0), "bundle_emb.cat.clip_l": torch.ones(1, 4),
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_adapter(tmp_path / "x.safetensors", TENSORS, {})
    return tmp_path / "x.safetensors"


def test_a_whole_file(file: Path) -> None:
    found = verify(file)
    assert (found.modules, found.tensors, found.embeddings, found.unchanged) == (1, 3, 1, True)
    assert found.hash == adapter_hash(file)


def test_a_changed_tensor_is_noticed(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert verify(file).unchanged is False


def test_a_file_without_a_hash(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "y.safetensors")
    assert verify(tmp_path / "y.safetensors").unchanged is None


@pytest.mark.parametrize("damage", ["cut", "not a number"])
def test_damage_is_refused(file: Path, damage: str) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] if damage == "cut" else content[:-4] + b"\xff" * 4)
    with pytest.raises(EngineError) as caught:
        verify(file)
    assert caught.value.code == ("file.truncated" if damage == "cut" else "adapter.not_finite")
