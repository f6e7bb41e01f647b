"""The layers read from headers are those of the loaded model: same names, groups, heads and sizes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.config.layers import LayerShape
from engine.families import load_model
from engine.formats.model_layers import model_layers
from engine.formats.sd_layers import sd_layers
from engine.model_facts import STARTER_FOLDER, model_facts
from tests.support.tiny import tiny_sd1, tiny_sd1_single_file


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "starter": STARTER_FOLDER, "folder": tiny_sd1(folder / "tiny"), "file": tiny_sd1_single_file(folder / "tiny.safetensors"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["starter", "folder", "file"])
def test_they_are_those_of_the_loaded_model(models: dict[str, Path], name: str) -> None:
    model, found = load_model(models[name], torch.device("cpu"), torch.float32), model_layers(model_facts(models[name]))
    for component, layers in model.layers().items():
        assert {layer.path: layer for layer in found.layers[component]} == {layer.path: layer for layer in layers}
        assert len(found.layers[component]) == len(layers)
        part = model.components[component]
        shapes = {layer.path: LayerShape.of(part.get_submodule(layer.path), layer.heads, layer.head_axis) for layer in layers}
        assert found.shapes[component] == shapes


@pytest.mark.parametrize("name", ["starter", "folder"])
def test_heads_are_those_of_the_modules(models: dict[str, Path], name: str) -> None:
    model = load_model(models[name], torch.device("cpu"), torch.float32)
    for component, layers in model_layers(model_facts(models[name])).layers.items():
        for layer in layers:
            if layer.group == "attention":
                attention = next(p for p in parents(model.components[component], layer.path) if hasattr(p, "scale"))
                assert layer.heads == (getattr(attention, "heads", None) or attention.num_heads), layer.path


def parents(part: nn.Module, path: str) -> list[nn.Module]:
    names = path.split(".")
    return [part.get_submodule(".".join(names[:end])) for end in range(len(names) - 1, 0, -1)]


def test_heads_may_differ_from_level_to_level() -> None:
    paths = [f"{block}.attentions.0.transformer_blocks.0.attn1.to_q" for block in ("down_blocks.0", "mid_block", "up_blocks.0")]
    config = {"num_attention_heads": None, "attention_head_dim": [5, 10, 20]}
    assert [layer.heads for layer in sd_layers("unet", paths, config)] == [5, 20, 20]
    assert sd_layers("unet", ["up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_out.0"], config)[0].heads == 5


def test_older_folders_name_a_level_more(models: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(models["folder"], folder)
    weights = folder / "text_encoder" / "model.safetensors"
    content = weights.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    text = json.dumps({name if name == "__metadata__" else f"text_model.{name}": info for name, info in header.items()}).encode()
    weights.unlink()
    weights.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    assert model_layers(model_facts(folder)).shapes == model_layers(model_facts(models["folder"])).shapes


def test_a_replaced_model_is_read_again(tmp_path: Path) -> None:
    file = tiny_sd1_single_file(tmp_path / "a.safetensors")
    found = model_layers(model_facts(file))
    assert model_layers(model_facts(file)) is found
    os.utime(file, ns=(1, 1))
    assert model_layers(model_facts(file)) is not found and model_layers(model_facts(file)) == found
