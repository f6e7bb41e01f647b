"""Hashes of checkpoints as other programs compute them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from engine.errors import ModelError
from engine.formats.hashes import model_hashes


def test_a_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    (tmp_path / "x.safetensors").write_bytes(content)
    hashes = model_hashes(tmp_path / "x.safetensors")
    assert hashes.sha256 == hashlib.sha256(content).hexdigest() and hashes.short == hashes.sha256[:10]
    assert hashes.old == hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    (tmp_path / "x.safetensors").write_bytes(content + b"more")
    assert model_hashes(tmp_path / "x.safetensors").sha256 == hashlib.sha256(content + b"more").hexdigest()


def test_a_folder_is_known_by_its_main_weights(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    main = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    main.write_bytes(b"main")
    before = model_hashes(tmp_path)
    (tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"variant")
    (tmp_path / "model_index.json").write_text("{}")
    assert model_hashes(tmp_path) == before and before.sha256 == hashlib.sha256(b"main").hexdigest()


def test_nothing_to_hash(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(ModelError) as caught:
            model_hashes(path)
        assert caught.value.code == "file.missing"
