"""A denoiser's originals, read again from the file or folder it was loaded from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from engine.adapters.merge import Applied, Merger
from engine.adapters.network import Network
from engine.config.adapter import LoraOptions
from engine.errors import ModelError
from engine.families import load_model
from engine.families.rereading import FileOriginals
from engine.formats.models import MODELS
from engine.tiny import make_tiny


@pytest.mark.parametrize("family", MODELS)
@pytest.mark.parametrize(("single_file", "dtype"), [(False, torch.float32), (True, torch.bfloat16)], ids=["folder", "file"])
def test_they_are_what_was_loaded_to_the_bit(tmp_path: Path, family: str, single_file: bool, dtype: torch.dtype) -> None:
    place = tmp_path / ("tiny.safetensors" if single_file else "tiny")
    make_tiny(family, place, single_file=single_file)
    model = load_model(place, torch.device("cpu"), dtype)
    denoiser, originals = model.format.denoiser, FileOriginals(model)
    assert originals.has(denoiser) and not originals.has("text_encoder")
    own = dict(model.denoiser.named_parameters())
    found = originals.read(denoiser, list(own))
    assert found.keys() == own.keys()
    assert all(torch.equal(tensor, own[name]) and tensor.dtype == own[name].dtype for name, tensor in found.items())


def test_a_merge_without_room_leaves_no_trace(tmp_path: Path) -> None:
    make_tiny("sd1", tmp_path / "tiny.safetensors", single_file=True)
    model = load_model(tmp_path / "tiny.safetensors", torch.device("cpu"), torch.float16)
    network = Network.create("sd1", model.components, model.targets(LoraOptions(rank=2, conv_rank=2)), 1)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    before = model.weights_key, {name: tensor.clone() for name, tensor in model.denoiser.named_parameters()}
    merger = Merger(model.components, FileOriginals(model), free=lambda: 0)
    for strength in (1.0, 0.5, -2.0):
        assert merger.apply([Applied(network.eval().requires_grad_(False), 0, strength, ("x",))])
    assert any(not torch.equal(tensor, before[1][name]) for name, tensor in model.denoiser.named_parameters())
    merger.restore()
    assert all(torch.equal(tensor, before[1][name]) for name, tensor in model.denoiser.named_parameters())


def test_a_file_that_has_changed_is_not_taken_for_the_original(tmp_path: Path) -> None:
    make_tiny("sd1", tmp_path / "tiny")
    model = load_model(tmp_path / "tiny", torch.device("cpu"), torch.float32)
    originals, name = FileOriginals(model), "conv_in.weight"
    assert torch.equal(originals.read("unet", [name])[name], model.denoiser.conv_in.weight)
    (file,) = (tmp_path / "tiny" / "unet").glob("*.safetensors")
    os.utime(file, ns=(1, 1))
    with pytest.raises(ModelError) as caught:
        originals.read("unet", [name])
    assert caught.value.code == "model.changed_on_disk" and "tiny" in caught.value.what
