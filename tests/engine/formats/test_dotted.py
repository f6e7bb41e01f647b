"""Modules are found again in every name that a model of each family gives, without the model."""

from __future__ import annotations

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from engine.formats.dotted import MANY, joint_blocks, module_refs
from engine.formats.kohya_tensors import kohya_tensors
from engine.formats.names import SWAPPED, ModuleRef, disk_names

LAYERS = torch.nn.Linear | torch.nn.Conv2d | torch.nn.LayerNorm | torch.nn.GroupNorm


def layers(model: torch.nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, LAYERS)]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_layer_of_a_unet(family: str) -> None:
    with init_empty_weights():
        unet = UNet2DConditionModel(
            block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=8, cross_attention_dim=32,
            addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80,
        )  # fmt: skip
    paths = layers(unet)
    for path, name in disk_names(family, "unet", paths).items():
        for written in (name.name, f"unet.{path}", f"base_model.model.{path}", "lycoris_" + path.replace(".", "_")):
            assert module_refs(written, family) == {ModuleRef("unet", path): ()}


def test_every_layer_of_a_text_encoder() -> None:
    config = CLIPTextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1, vocab_size=99)
    with init_empty_weights():
        models = CLIPTextModel(config), CLIPTextModelWithProjection(config)
    for model in models:
        for path in layers(model):
            plain = path.removeprefix("text_model.")
            flat = plain.replace(".", "_")
            first = {ModuleRef("text_encoder", plain): ()}
            assert module_refs(f"lora_te_text_model_{flat}", "sd1") == module_refs(f"lora_te1_{flat}", "sdxl") == first
            assert module_refs(f"text_encoder.text_model.{plain}", "sd1") == first
            assert module_refs(f"lora_te2_text_model_{flat}", "sdxl") == {ModuleRef("text_encoder_2", plain): ()}


@pytest.mark.parametrize(
    "name", ["", "lora_unet_", "lora_unet_input_blocks_4_1_proj_in", "lora_unet_double_blocks_0_img_attn_qkv"]
)
def test_other_names_are_not_guessed(name: str) -> None:
    assert not module_refs(name, "sd1")


def test_the_modules_of_a_fused_name() -> None:
    rows = {
        f"single_transformer_blocks.37.{part}": (row, row + 1, 7)
        for row, part in enumerate(("attn.to_q", "attn.to_k", "attn.to_v"))
    }
    rows["single_transformer_blocks.37.proj_mlp"] = (3, 7, 7)
    expected = {ModuleRef("transformer", path): (run,) for path, run in rows.items()}
    for name in ("lora_unet_single_blocks_37_linear1", "diffusion_model.single_blocks.37.linear1", "single_blocks.37.linear1"):
        assert module_refs(name, "flux") == expected


def test_the_last_block_of_sd3_is_known_by_its_width() -> None:
    """Its two modulations stand the other way round in single files; a block with six says nothing of the number of blocks."""
    name = "lora_unet_joint_blocks_23_context_block_adaLN_modulation_1"
    wide = {name: {"lora_down.weight": (4, 64), "lora_up.weight": (384, 4)}}
    last = {name: {"lora_down.weight": (4, 64), "lora_up.weight": (128, 4)}}
    ref = ModuleRef("transformer", "transformer_blocks.23.norm1_context.linear")
    assert joint_blocks(wide) == MANY and joint_blocks(last) == 24
    assert module_refs(name, "sd3", joint_blocks(wide)) == {ref: ()}
    assert module_refs(name, "sd3", joint_blocks(last)) == {ref: SWAPPED}


MODULES = {
    "kohya": ("sd1", "lora_unet_input_blocks_4_1_proj_in", "lora_unet_input_blocks_4_1_proj_in"),
    "peft": ("sd1", "unet.down_blocks.0.resnets.0.conv1", "lora_unet_down_blocks_0_resnets_0_conv1"),
    "one text encoder": ("sd1", "text_encoder.encoder.layers.0.mlp.fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "lycoris": ("sd1", "lycoris_text_encoder_text_model_encoder_layers_0_mlp_fc1", "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    "original names": ("sd1", "diffusion_model.output_blocks.1.0.in_layers.2", "lora_unet_output_blocks_1_0_in_layers_2"),
    "BFL": ("flux", "double_blocks.0.img_attn.qkv", "lora_unet_double_blocks_0_img_attn_qkv"),
    "ComfyUI": ("flux", "diffusion_model.double_blocks.0.img_mlp.0", "lora_unet_double_blocks_0_img_mlp_0"),
    "OneTrainer": ("flux", "lora_transformer_single_transformer_blocks_3_proj_out", "lora_unet_single_blocks_3_linear2"),
    "T5 of FLUX": ("flux", "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
    "SD3": ("sd3", "transformer.transformer_blocks.0.ff.net.2", "lora_unet_joint_blocks_0_x_block_mlp_fc2"),
}  # fmt: skip


@pytest.mark.parametrize("case", MODULES)
def test_kohyas_spelling_of_others(case: str) -> None:
    family, written, expected = MODULES[case]
    tensor = torch.ones(2)
    assert kohya_tensors({written: {"alpha": tensor}}, family)[f"{expected}.alpha"] is tensor


def test_two_text_encoders_are_both_numbered() -> None:
    names = ("text_encoder.encoder.layers.0.mlp.fc1", "text_encoder_2.text_model.encoder.layers.0.mlp.fc1")
    assert list(kohya_tensors({name: {"alpha": torch.ones(1)} for name in names}, "sdxl")) == [
        f"lora_te{number}_text_model_encoder_layers_0_mlp_fc1.alpha" for number in (1, 2)
    ]


def pair(outputs: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(outputs)
    return {
        "lora_down.weight": torch.randn(2, 6, generator=generator), "lora_up.weight": torch.randn(outputs, 2, generator=generator),
        "alpha": torch.tensor(2 * scale),
    }  # fmt: skip


@pytest.mark.parametrize("names", [
    {f"transformer.transformer_blocks.0.attn.to_{part}": 4 for part in "qkv"},
    {f"double_blocks.0.processor.{part}": size for part, size in (("qkv_lora1", 12), ("proj_lora2", 4))},
    {f"single_blocks.0.processor.{part}": size for part, size in (("qkv", 12), ("proj", 4))},
])  # fmt: skip
def test_what_is_made_of_others_files_does_the_same(names: dict[str, int]) -> None:
    """Split or fused, in XLabs' way or BFL's: the change of every row stays."""
    modules = {name: pair(size) for name, size in names.items()}
    made = kohya_tensors(modules, "flux")
    assert all(key.startswith(("lora_unet_double_blocks_0_", "lora_unet_single_blocks_0_linear")) for key in made)
    changes = {}
    for name in {key.split(".")[0] for key in made}:
        scale = made[f"{name}.alpha"] / len(made[f"{name}.lora_down.weight"])
        changes[name] = scale * made[f"{name}.lora_up.weight"] @ made[f"{name}.lora_down.weight"]
    total = torch.cat([change for _, change in sorted(changes.items())])
    expected = torch.cat([parts["lora_up.weight"] @ parts["lora_down.weight"] for parts in modules.values()])
    assert torch.allclose(total[total.any(1)], expected, atol=1e-6)
