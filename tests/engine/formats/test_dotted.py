"""Dots are found again in every name that a Stable Diffusion model gives."""

from __future__ import annotations

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.formats.dotted import module_ref
from engine.formats.kohya_tensors import kohya_tensors
from engine.formats.names import ModuleRef, disk_names

LAYERS = torch.nn.Linear | torch.nn.Conv2d | torch.nn.LayerNorm | torch.nn.GroupNorm


def layers(model: torch.nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, LAYERS)]


def test_every_layer_of_a_unet() -> None:
    with init_empty_weights():
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8, cross_attention_dim=32,
            addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
        )  # fmt: skip
    paths = layers(unet)
    for path, name in disk_names("unet", paths).items():
        for written in (name, f"unet.{path}", f"base_model.model.{path}", "lycoris_" + path.replace(".", "_")):
            assert module_ref(written) == ModuleRef("unet", path)


def test_every_layer_of_a_text_encoder() -> None:
    config = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, vocab_size=99)
    with init_empty_weights():
        models = CLIPTextModel(config), CLIPTextModelWithProjection(config)
    for model in models:
        for path in layers(model):
            plain = path.removeprefix("text_model.")
            flat = plain.replace(".", "_")
            assert module_ref(f"lora_te_text_model_{flat}") == module_ref(f"lora_te1_{flat}") == ModuleRef("text_encoder", plain)
            assert module_ref(f"text_encoder.text_model.{plain}") == ModuleRef("text_encoder", plain)
            assert module_ref(f"lora_te2_text_model_{flat}") == ModuleRef("text_encoder_2", plain)


@pytest.mark.parametrize(
    "name", ["", "lora_unet_", "lora_unet_input_blocks_4_1_proj_in", "lora_unet_double_blocks_0_img_attn_qkv", "x"]
)
def test_other_names_are_not_guessed(name: str) -> None:
    assert module_ref(name) is None


MODULES = {
    "kohya": ("lora_unet_input_blocks_4_1_proj_in", "lora_unet_input_blocks_4_1_proj_in"),
    "peft": ("unet.down_blocks.0.resnets.0.conv1", "lora_unet_down_blocks_0_resnets_0_conv1"),
    "one text encoder": ("text_encoder.encoder.layers.0.mlp.fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "lycoris": ("lycoris_text_encoder_text_model_encoder_layers_0_mlp_fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "original names": ("diffusion_model.output_blocks.1.0.in_layers.2", "lora_unet_output_blocks_1_0_in_layers_2"),
}


@pytest.mark.parametrize("case", MODULES)
def test_kohyas_spelling_of_others(case: str) -> None:
    written, expected = MODULES[case]
    tensor = torch.ones(2)
    assert kohya_tensors({written: {"alpha": tensor}})[f"{expected}.alpha"] is tensor


def test_two_text_encoders_are_both_numbered() -> None:
    names = ("text_encoder.encoder.layers.0.mlp.fc1", "text_encoder_2.text_model.encoder.layers.0.mlp.fc1")
    assert list(kohya_tensors({name: {"alpha": torch.ones(1)} for name in names})) == [
        f"lora_te{number}_text_model_encoder_layers_0_mlp_fc1.alpha" for number in (1, 2)
    ]
