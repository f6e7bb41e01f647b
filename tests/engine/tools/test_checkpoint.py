from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.families import load_model
from engine.families.base import Family
from engine.tools.checkpoint import open_checkpoint
from engine.workspace import Workspace


@pytest.mark.parametrize("name", ["file.safetensors", "folder"])
def test_every_weight_is_the_one_that_is_loaded(name: str, models: Path) -> None:
    checkpoint, model = open_checkpoint(models / name), load_model(models / name, torch.device("cpu"), torch.float32)
    for component, part in model.components.items():
        state = dict(part.named_parameters())
        assert {key for of, key in checkpoint.places if of == component} == set(state)
        assert all(torch.equal(checkpoint.tensor(component, key), tensor) for key, tensor in state.items())
        assert all(parameter.is_meta for parameter in checkpoint.components[component].parameters())


def test_a_layer_is_read_when_it_is_looked_at(models: Path, model: Family) -> None:
    layer = open_checkpoint(models / "file.safetensors").layer("unet", "mid_block.resnets.0.conv1")
    assert list(layer) == ["weight", "bias"] and len(layer) == 2 and "running_mean" not in layer
    assert torch.equal(layer["bias"], model.components["unet"].get_parameter("mid_block.resnets.0.conv1.bias"))


def test_names_that_some_merges_shortened(models: Path, workspace: Workspace, model: Family) -> None:
    tensors = load_file(models / "file.safetensors")
    file = workspace.checkpoint_folders[0] / "short.safetensors"
    save_file({name.replace("transformer.text_model.", "transformer."): tensor for name, tensor in tensors.items()}, file)
    checkpoint = open_checkpoint(file)
    key = "encoder.layers.0.mlp.fc1.weight"
    key = key if ("text_encoder", key) in checkpoint.places else f"text_model.{key}"
    assert torch.equal(checkpoint.tensor("text_encoder", key), model.components["text_encoder"].get_parameter(key))


def test_what_is_incomplete(models: Path, workspace: Workspace) -> None:
    tensors = load_file(models / "file.safetensors")
    file = workspace.checkpoint_folders[0] / "part.safetensors"
    del tensors["model.diffusion_model.middle_block.1.proj_out.bias"]
    save_file(tensors, file)
    with pytest.raises(ModelError) as told:
        open_checkpoint(file)
    assert told.value.code == "model.missing_tensors" and "mid_block.attentions.0.proj_out.bias" in str(told.value)
