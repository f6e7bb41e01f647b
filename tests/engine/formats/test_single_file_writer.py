"""Single files of every family: diffusers reads what we write, with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

from engine.families.parts import build_empty
from engine.formats.lazy_tensor import in_memory
from engine.formats.models import MODELS
from engine.formats.safetensors_header import read_header
from engine.formats.single_file import shipped_config
from engine.formats.single_file_writer import stored_tensors, write_single_file
from engine.tiny.pipeline import tiny_pipeline
from engine.tiny.write import save_pipeline

GIVEN = {"flux": ("transformer",), "z_image": ("text_encoder", "vae")}
"""What diffusers' pipelines cannot read of our tiny files: of FLUX they take the sizes of the published model for granted, of
Z-Image they look for the transformer only."""


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def written(family: str, folder: Path) -> tuple[Any, Path, Path]:
    """A pipeline, its file and its folder."""
    name, variant = next(iter(MODELS[family].variants.items()))
    pipeline = tiny_pipeline(family, variant.configs)
    parts = {name: pipeline.components[name] for name in MODELS[family].parts}
    file = folder / "model.safetensors"
    write_single_file(file, family, parts, name, variant.prediction, 64)
    return pipeline, file, save_pipeline(pipeline, folder / "folder")


@pytest.mark.parametrize("family", MODELS)
def test_diffusers_reads_every_part(family: str, tmp_path: Path) -> None:
    pipeline, file, folder = written(family, tmp_path)
    given = {name: pipeline.components[name] for name in GIVEN.get(family, ())}
    read = type(pipeline).from_single_file(
        str(file), config=str(folder), local_files_only=True, torch_dtype=torch.float32, **given
    )
    for name in MODELS[family].parts:
        assert same(pipeline.components[name], read.components[name]), name


@pytest.mark.parametrize(
    ("family", "name"), [("z_image", "transformer"), ("z_image", "vae"), ("sd3", "transformer"), ("sdxl", "unet")]
)
def test_diffusers_reads_a_part_alone(family: str, name: str, tmp_path: Path) -> None:
    pipeline, file, folder = written(family, tmp_path)
    network = pipeline.components[name]
    read = type(network).from_single_file(
        str(file), config=str(folder), subfolder=name, local_files_only=True, torch_dtype=torch.float32
    )
    assert same(network, read)


def test_diffusers_takes_flux_apart_as_we_put_it_together() -> None:
    """At its real number of blocks and rows, with narrow matrices: only rows are cut."""
    config = shipped_config("flux_dev", "transformer")
    shapes = {key: tuple(tensor.shape) for key, tensor in build_empty("flux", config).state_dict().items()}
    state = {key: torch.randn(shape[0], *(1 for _ in shape[1:])) for key, shape in shapes.items()}
    stored = stored_tensors(MODELS["flux"].parts["transformer"], in_memory(state), config)
    back = convert_flux_transformer_checkpoint_to_diffusers({key: tensor.read() for key, tensor in stored.items()})
    assert back.keys() == state.keys() and all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize("family", MODELS)
def test_the_shapes_in_the_header_are_known_before_anything_is_made(family: str) -> None:
    configs = next(iter(MODELS[family].variants.values())).configs
    pipeline = tiny_pipeline(family, configs)
    for name, part in MODELS[family].parts.items():
        network = pipeline.components[name]
        config = network.config.to_dict() if hasattr(network.config, "to_dict") else dict(network.config)
        for key, tensor in stored_tensors(part, in_memory(network.state_dict()), config).items():
            made = tensor.read()
            assert (tuple(made.shape), str(made.dtype)) == (tensor.shape, "torch.float32"), key


def test_a_file_of_stable_diffusion_2_has_the_blocks_that_count(tmp_path: Path) -> None:
    """Published files have one more, which no program uses."""
    _, file, _ = written("sd2", tmp_path)
    blocks = {key.split(".")[4] for key in read_header(file).tensors if ".resblocks." in key}
    assert len(blocks) == 3, "as many as the network has"


def test_parts_of_different_number_formats_are_joined_in_the_widest() -> None:
    part = MODELS["sdxl"].parts["text_encoder_2"]
    layer = "text_model.encoder.layers.0.self_attn"
    state = {f"{layer}.{name}_proj.weight": torch.ones(2, 2, dtype=torch.float16) for name in "qkv"}
    (fused,) = stored_tensors(part, in_memory(state), {}).values()
    assert (fused.dtype, fused.shape) == ("F16", (6, 2))
    state[f"{layer}.k_proj.weight"] = torch.ones(2, 2, dtype=torch.bfloat16)
    (fused,) = stored_tensors(part, in_memory(state), {}).values()
    assert fused.dtype == "F32" and fused.read().dtype == torch.float32
