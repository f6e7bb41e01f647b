"""Parts of diffusers folders: the libraries load what is written, in one file or in many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from engine.families.parts import part_class, save_config
from engine.formats.folder_writer import write_part
from engine.formats.models import MODELS
from engine.formats.whole_model import PartState
from engine.tiny.pipeline import tiny_pipeline

KINDS = {
    "unet": ("sd1", "unet"), "vae": ("sd1", "vae"), "clip": ("sd1", "text_encoder"), "clip_projected": ("sdxl", "text_encoder_2"),
    "sd3": ("sd3", "transformer"), "t5": ("flux", "text_encoder_2"), "flux": ("flux", "transformer"),
    "z_image": ("z_image", "transformer"), "qwen3": ("z_image", "text_encoder"),
}  # fmt: skip


@pytest.mark.parametrize("largest", [10**10, 10**5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_libraries_load_it(kind: str, largest: int, tmp_path: Path) -> None:
    family, name = KINDS[kind]
    configs = next(iter(MODELS[family].variants.values())).configs
    network = tiny_pipeline(family, configs).components[name]
    state = network.state_dict()
    write_part(tmp_path, MODELS[family].parts[name], PartState.of(network), {"modelspec.title": "x"}, largest=largest)
    save_config(network, tmp_path)
    loaded = part_class(kind).from_pretrained(tmp_path, local_files_only=True, torch_dtype=torch.float32).state_dict()
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)
    files = sorted(tmp_path.glob("*.safetensors"))
    index = list(tmp_path.glob("*.index.json"))
    if largest > 10**6:
        assert len(files) == 1 and not index
    else:
        told = json.loads(index[0].read_text())
        assert len(files) > 1 and set(told["weight_map"].values()) == {file.name for file in files}
        assert files[-1].name.endswith(f"-{len(files):05}-of-{len(files):05}.safetensors")
