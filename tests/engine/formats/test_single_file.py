"""Single-file checkpoints: what is written loads here and in diffusers, with the same bits, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from engine.errors import ModelError
from engine.families import load_model
from engine.families.parts import build_empty
from engine.formats.kinds import detect_kind, recognise
from engine.formats.lazy_tensor import in_memory
from engine.formats.models import MODELS
from engine.formats.safetensors_header import Header, TensorInfo
from engine.formats.single_file import CONFIGS_KEY, part_shapes, shipped_config
from engine.formats.single_file_writer import stored_tensors, write_single_file
from tests.support.tiny import tiny_parts, tiny_sd1, tiny_sd1_single_file

COMPONENTS = ("unet", "vae", "text_encoder")
SD15_KEYS = """
model.diffusion_model.time_embed.0.weight model.diffusion_model.input_blocks.0.0.bias
model.diffusion_model.input_blocks.3.0.op.weight model.diffusion_model.input_blocks.1.1.norm.weight
model.diffusion_model.input_blocks.8.1.transformer_blocks.0.attn2.to_out.0.bias
model.diffusion_model.middle_block.1.transformer_blocks.0.ff.net.0.proj.weight
model.diffusion_model.output_blocks.2.1.conv.weight model.diffusion_model.output_blocks.8.2.conv.bias
model.diffusion_model.output_blocks.11.0.skip_connection.weight model.diffusion_model.out.0.weight
first_stage_model.encoder.down.0.downsample.conv.weight
first_stage_model.encoder.down.1.block.0.nin_shortcut.weight first_stage_model.encoder.mid.attn_1.q.weight
first_stage_model.decoder.up.3.upsample.conv.weight first_stage_model.decoder.up.0.block.2.conv2.bias
first_stage_model.decoder.mid.attn_1.proj_out.bias first_stage_model.decoder.norm_out.weight
first_stage_model.post_quant_conv.bias first_stage_model.quant_conv.weight
cond_stage_model.transformer.text_model.embeddings.token_embedding.weight
cond_stage_model.transformer.text_model.encoder.layers.11.self_attn.out_proj.bias
cond_stage_model.transformer.text_model.final_layer_norm.weight
"""


@pytest.fixture(scope="module")
def real() -> dict[str, torch.nn.Module]:
    """Stable Diffusion 1.5 as the shipped configs describe it, without its weights."""
    return {name: build_empty(part.kind, shipped_config("sd1", name)) for name, part in MODELS["sd1"].parts.items()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1_single_file(tmp_path_factory.mktemp("single") / "tiny.safetensors", prediction_type="v_prediction")


@pytest.fixture
def own_copy(checkpoint: Path, tmp_path: Path) -> Path:
    shutil.copytree(checkpoint.parent, tmp_path, dirs_exist_ok=True)
    return tmp_path / checkpoint.name


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def header_of(real: dict[str, torch.nn.Module]) -> Header:
    tensors = {}
    for name, model in real.items():
        part = MODELS["sd1"].parts[name]
        for key, tensor in stored_tensors(part, in_memory(model.state_dict()), shipped_config("sd1", name)).items():
            tensors[part.prefixes[0] + key] = TensorInfo("F16", tuple(tensor.shape), 0, 0)
    return Header({}, tensors, 0)


def load(path: Path, dtype: torch.dtype = torch.float32):
    return load_model(path, torch.device("cpu"), dtype)


def test_the_shipped_configs_are_stable_diffusion_1_5(real: dict[str, torch.nn.Module]) -> None:
    counts = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in real.items()}
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_real_key_names(real: dict[str, torch.nn.Module]) -> None:
    header = header_of(real)
    assert set(SD15_KEYS.split()) <= set(header.tensors)
    assert len(header.tensors) == 686 + 248 + 196
    assert (recognise(header), detect_kind(header)) == ("sd1", "checkpoint")


def test_real_sizes_are_read_off_the_shapes(real: dict[str, torch.nn.Module]) -> None:
    header = header_of(real)
    for name, part in MODELS["sd1"].parts.items():
        shown = part.sizes(part_shapes(header, part.prefixes[0]))
        shipped = shipped_config("sd1", name) | ({"use_linear_projection": False} if name == "unet" else {})
        assert {key: shipped[key] for key in shown} == shown


def test_what_is_written_loads_the_same(checkpoint: Path) -> None:
    parts, loaded = tiny_parts(prediction_type="v_prediction"), load(checkpoint)
    assert all(same(parts[component], loaded.parts[component]) for component in COMPONENTS)
    assert loaded.scheduler_config["prediction_type"] == "v_prediction" and loaded.facts.resolution == 64
    assert not loaded.denoiser.training
    scheduler = DDIMScheduler.from_config(loaded.scheduler_config)
    read = {**loaded.parts, "tokenizer": loaded.tokenizers["text_encoder"], "scheduler": scheduler}
    pictures = []
    for each in (read, parts):
        pipeline = StableDiffusionPipeline(**each, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        made = pipeline(
            "a red cat", num_inference_steps=2, height=64, width=64, generator=torch.Generator().manual_seed(1), output_type="np"
        )
        pictures.append(torch.from_numpy(made.images))
    assert torch.equal(*pictures)


def test_diffusers_reads_it_too(checkpoint: Path, tmp_path: Path) -> None:
    folder, parts = tiny_sd1(tmp_path / "folder"), tiny_parts()
    read = StableDiffusionPipeline.from_single_file(
        str(checkpoint), config=str(folder), local_files_only=True, torch_dtype=torch.float32
    )
    assert all(same(parts[component], getattr(read, component)) for component in COMPONENTS)


def test_dtype_and_older_spellings(own_copy: Path) -> None:
    tensors = load_file(own_copy)
    tensors = {name.replace("transformer.text_model.", "transformer."): tensor.half() for name, tensor in tensors.items()}
    tensors["cond_stage_model.transformer.embeddings.position_ids"] = torch.arange(77)
    tensors["model_ema.decay"] = torch.tensor(0.9)
    del tensors["v_pred"]
    save_file(tensors, own_copy)
    loaded = load(own_copy, torch.float16)
    for component in COMPONENTS:
        expected = tiny_parts()[component].half()
        assert same(expected, loaded.parts[component])
        # A VAE that may overflow computes in float32, whatever it is stored in.
        assert loaded.parts[component].dtype == (torch.float32 if component == "vae" else torch.float16)
    assert loaded.prediction == "epsilon"


def test_the_metadata_say_what_shapes_cannot_and_nothing_else(own_copy: Path) -> None:
    said = {
        "text_encoder": {"num_attention_heads": 4, "torch_dtype": {"a": 1}, "unknown": 3},
        "unet": ["no object"],
        "vae": {"scaling_factor": 0.5},
    }
    save_file(load_file(own_copy), own_copy, {CONFIGS_KEY: json.dumps(said)})
    loaded = load(own_copy)
    assert loaded.parts["text_encoder"].config.num_attention_heads == 4
    assert not hasattr(loaded.parts["text_encoder"].config, "unknown")
    assert loaded.vae.config.scaling_factor == 0.5
    save_file(load_file(own_copy), own_copy, {CONFIGS_KEY: "[" * 100_000})
    assert load(own_copy).vae.config.scaling_factor == 0.18215


def test_the_loaded_parts_do_not_hang_on_the_file(own_copy: Path) -> None:
    loaded = load(own_copy)
    with own_copy.open("r+b") as stream:
        stream.write(b"\xff" * own_copy.stat().st_size)
    assert same(loaded.denoiser, tiny_parts()["unet"])


def test_writing_refuses_nan(tmp_path: Path) -> None:
    parts = tiny_parts()
    torch.nn.init.constant_(parts["unet"].conv_out.bias, float("nan"))
    with pytest.raises(ModelError) as caught:
        write_single_file(tmp_path / "x.safetensors", "sd1", {name: parts[name] for name in COMPONENTS}, "base", "epsilon", 64)
    assert caught.value.code == "model.not_finite" and not list(tmp_path.iterdir())


def drop(tensors: dict[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}


def lora_only(_: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"lora_unet_a.lora_down.weight": torch.ones(2, 3), "lora_unet_a.lora_up.weight": torch.ones(3, 2)}


OUT = "model.diffusion_model.out.2.bias"


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lora_only, "model.is_adapter", "LoRA"),
        (lambda t: drop(t, "cond_stage"), "model.incomplete", "text encoder"),
        (lambda t: {**drop(t, "cond_stage"), "cond_stage_model.model.x": torch.ones(1)}, "model.incomplete", "text encoder"),
        (lambda t: drop(t, "first_stage_model."), "model.incomplete", "VAE"),
        (lambda t: {name: x for name, x in t.items() if name.startswith("first_stage")}, "model.is_vae", "VAE"),
        (lambda t: {"down_blocks.0.x.weight": torch.ones(1)}, "model.is_folder_part", "diffusers"),
        (lambda t: {"down.0.x.weight": torch.ones(1)}, "model.not_a_checkpoint", "unknown"),
        (lambda t: drop(t, OUT), "model.missing_tensors", "conv_out.bias"),
        (lambda t: {**t, OUT: torch.ones(7)}, "model.bad_shape", OUT),
        (lambda t: drop(t, "model.diffusion_model.out.2.weight"), "model.bad_shape", "out.2.weight"),
    ],
)
def test_refusals(own_copy: Path, change, code: str, named: str) -> None:
    save_file(change(load_file(own_copy)), own_copy)
    with pytest.raises(ModelError) as caught:
        load(own_copy)
    assert caught.value.code == code and named in caught.value.what


def test_no_tokenizer(own_copy: Path) -> None:
    shutil.rmtree(own_copy.parent / "tokenizers")
    with pytest.raises(ModelError) as caught:
        load(own_copy)
    assert caught.value.code == "model.no_tokenizer"
    assert str(own_copy.parent / "tokenizers") in caught.value.todo


def test_a_truncated_file(own_copy: Path) -> None:
    own_copy.write_bytes(own_copy.read_bytes()[:-1000])
    with pytest.raises(ModelError) as caught:
        load(own_copy)
    assert caught.value.code == "file.truncated"
