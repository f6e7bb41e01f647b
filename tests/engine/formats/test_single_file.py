"""Single-file checkpoints: what is written loads here and in diffusers, with the same bits, offline."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

from engine.errors import ModelError
from engine.formats.checkpoint_shapes import architecture_from_header
from engine.formats.kinds import detect_kind, recognise
from engine.formats.safetensors_header import Header, TensorInfo
from engine.formats.single_file import SD1_CONFIGS, ldm_keys, load_components, write_single_file
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


def config(component: str) -> dict:
    return json.loads((SD1_CONFIGS / component / "config.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def real() -> dict[str, torch.nn.Module]:
    """Stable Diffusion 1.5 as the shipped configs describe it, without its weights."""
    with init_empty_weights():
        return {
            "unet": UNet2DConditionModel.from_config(config("unet")),
            "vae": AutoencoderKL.from_config(config("vae")),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**config("text_encoder"))),
        }


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
    for component, model in real.items():
        state = model.state_dict()
        for key, name in ldm_keys(component, state).items():
            shape = tuple(state[key].shape)
            is_convolution = component == "vae" and ".attn_1." in name and len(shape) == 2
            tensors[name] = TensorInfo("F16", (*shape, 1, 1) if is_convolution else shape, 0, 0)
    return Header({}, tensors, 0)


def test_the_shipped_configs_are_stable_diffusion_1_5(real: dict[str, torch.nn.Module]) -> None:
    counts = {name: sum(parameter.numel() for parameter in model.parameters()) for name, model in real.items()}
    assert counts == {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480}


def test_real_key_names(real: dict[str, torch.nn.Module]) -> None:
    header = header_of(real)
    assert set(SD15_KEYS.split()) <= set(header.tensors)
    assert len(header.tensors) == 686 + 248 + 196
    assert (recognise(header), detect_kind(header)) == ("sd1", "checkpoint")


def test_real_sizes_are_read_off_the_shapes(real: dict[str, torch.nn.Module]) -> None:
    for component, overrides in architecture_from_header(header_of(real)).items():
        shipped = config(component) | ({"use_linear_projection": False} if component == "unet" else {})
        assert {name: shipped[name] for name in overrides} == overrides


def test_what_is_written_loads_the_same(checkpoint: Path) -> None:
    parts, loaded = tiny_parts(prediction_type="v_prediction"), load_components(checkpoint, offline=True)
    assert all(same(parts[component], loaded[component]) for component in COMPONENTS)
    assert loaded["scheduler"].config["prediction_type"] == "v_prediction"
    assert loaded["unet"].config["sample_size"] == parts["unet"].config["sample_size"]
    assert not loaded["unet"].training
    pipeline = StableDiffusionPipeline(**loaded, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    expected = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    pictures = []
    for each in (pipeline, expected):
        each.set_progress_bar_config(disable=True)
        made = each("a red cat", num_inference_steps=2, generator=torch.Generator().manual_seed(1), output_type="np")
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
    save_file(tensors, own_copy)
    loaded = load_components(own_copy, dtype=torch.float16, offline=True)
    for component in COMPONENTS:
        expected = tiny_parts()[component].half()
        assert same(expected, loaded[component]) and loaded[component].dtype == torch.float16
    assert loaded["scheduler"].config["prediction_type"] == "epsilon"


def test_a_config_folder_says_what_shapes_cannot(own_copy: Path, tmp_path: Path) -> None:
    folder = tiny_sd1(tmp_path / "folder", prediction_type="v_prediction")
    text = json.loads((folder / "text_encoder" / "config.json").read_text()) | {"num_attention_heads": 4}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(text))
    save_file(load_file(own_copy), own_copy)
    shutil.rmtree(own_copy.parent / "tokenizer")
    loaded = load_components(own_copy, folder, offline=True)
    assert loaded["text_encoder"].config.num_attention_heads == 4
    assert loaded["scheduler"].config["prediction_type"] == "v_prediction"


def test_the_loaded_parts_do_not_hang_on_the_file(own_copy: Path) -> None:
    loaded = load_components(own_copy, offline=True)
    with own_copy.open("r+b") as stream:
        stream.write(b"\xff" * own_copy.stat().st_size)
    assert same(loaded["unet"], tiny_parts()["unet"])


def test_writing_refuses_nan(tmp_path: Path) -> None:
    parts = tiny_parts()
    torch.nn.init.constant_(parts["unet"].conv_out.bias, float("nan"))
    with pytest.raises(ModelError) as caught:
        write_single_file(tmp_path / "x.safetensors", parts["unet"], parts["vae"], parts["text_encoder"])
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
        (lambda t: {**drop(t, "cond_stage"), "conditioner.embedders.0.x": torch.ones(1)}, "model.wrong_family", "sdxl"),
        (lambda t: {**drop(t, "cond_stage"), "cond_stage_model.model.x": torch.ones(1)}, "model.wrong_family", "sd2"),
        (lambda t: drop(t, "first_stage_model."), "model.incomplete", "VAE"),
        (lambda t: {name: x for name, x in t.items() if name.startswith("first_stage")}, "model.not_a_checkpoint", "vae"),
        (lambda t: {"down_blocks.0.x.weight": torch.ones(1)}, "model.not_a_checkpoint", "unknown"),
        (lambda t: drop(t, OUT), "model.missing_tensors", "conv_out.bias"),
        (lambda t: {**t, OUT: torch.ones(7)}, "model.bad_shape", OUT),
        (lambda t: drop(t, "model.diffusion_model.out.2.weight"), "model.bad_shape", "out.2.weight"),
    ],
)
def test_refusals(own_copy: Path, change, code: str, named: str) -> None:
    save_file(change(load_file(own_copy)), own_copy)
    with pytest.raises(ModelError) as caught:
        load_components(own_copy, offline=True)
    assert caught.value.code == code and named in caught.value.what


def test_no_tokenizer(own_copy: Path) -> None:
    shutil.rmtree(own_copy.parent / "tokenizer")
    with pytest.raises(ModelError) as caught:
        load_components(own_copy, offline=True)
    assert caught.value.code == "model.no_tokenizer" and "vocab.json" in caught.value.expected
    assert str(own_copy.parent / "tokenizer") in caught.value.todo


def test_a_truncated_file(own_copy: Path) -> None:
    own_copy.write_bytes(own_copy.read_bytes()[:-1000])
    with pytest.raises(ModelError) as caught:
        load_components(own_copy, offline=True)
    assert caught.value.code == "file.truncated"
