"""Module names against fixed lists: what the ecosystem writes, whatever the installed library calls its modules."""

from __future__ import annotations

import re

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from engine.formats.ldm_names import unet_from_ldm, unet_to_ldm
from engine.formats.names import ModuleRef, NameIndex, disk_names

UNET_ATTENTION = (
    "proj_in proj_out transformer_blocks_0_ff_net_0_proj transformer_blocks_0_ff_net_2 "
    + " ".join(f"transformer_blocks_0_attn{n}_to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out_0"))
).split()


def written(family: str, component: str, paths: list[str]) -> set[str]:
    return {name.name for name in disk_names(family, component, paths).values()}


def modules_of(model: torch.nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)]


@pytest.fixture(scope="module")
def sd15() -> dict[str, list[str]]:
    """Paths of Stable Diffusion 1.5's layers, without its weights."""
    with init_empty_weights():
        unet = UNet2DConditionModel(block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=768)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, num_hidden_layers=12, num_attention_heads=12))
    return {"unet": modules_of(unet), "text_encoder": modules_of(text)}


def canonical_unet() -> set[str]:
    places = [f"down_blocks_{i}_attentions_{j}" for i in range(3) for j in range(2)] + ["mid_block_attentions_0"]
    places += [f"up_blocks_{i}_attentions_{j}" for i in range(1, 4) for j in range(3)]
    return {f"lora_unet_{place}_{part}" for place in places for part in UNET_ATTENTION}


def canonical_text() -> set[str]:
    parts = [*(f"self_attn_{part}_proj" for part in ("q", "k", "v", "out")), "mlp_fc1", "mlp_fc2"]
    return {f"lora_te_text_model_encoder_layers_{layer}_{part}" for layer in range(12) for part in parts}


def test_the_264_modules_of_stable_diffusion_1(sd15: dict[str, list[str]]) -> None:
    attention = [path for path in sd15["unet"] if ".attentions." in path]
    unet, text = written("sd1", "unet", attention), written("sd1", "text_encoder", sd15["text_encoder"])
    assert unet == canonical_unet() and len(attention) == 192
    assert text == canonical_text() and len(sd15["text_encoder"]) == 72


def test_the_convolution_modules(sd15: dict[str, list[str]]) -> None:
    blocks = [path for path in sd15["unet"] if re.match(r"(down|mid|up)_block", path)]
    names = written("sd1", "unet", blocks)
    assert len(names) == 278
    assert {"lora_unet_down_blocks_0_downsamplers_0_conv", "lora_unet_up_blocks_2_resnets_1_conv_shortcut"} <= names
    assert "lora_unet_mid_block_resnets_1_time_emb_proj" in names


def test_both_levels_of_the_text_encoder_get_one_name() -> None:
    path = "encoder.layers.3.mlp.fc1"
    expected = "lora_te_text_model_encoder_layers_3_mlp_fc1"
    for own in (path, f"text_model.{path}"):
        assert written("sd1", "text_encoder", [own]) == {expected}
        assert NameIndex("sd1", {"text_encoder": [own]}).find(expected) == {ModuleRef("text_encoder", own): ()}


LDM_NAMES = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "down_blocks.0.attentions.1.proj_in": "input_blocks.2.1.proj_in",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "down_blocks.2.attentions.1.transformer_blocks.0.attn2.to_k": "input_blocks.8.1.transformer_blocks.0.attn2.to_k",
    "down_blocks.3.resnets.1.conv2": "input_blocks.11.0.out_layers.3",
    "mid_block.attentions.0.proj_out": "middle_block.1.proj_out",
    "mid_block.resnets.1.time_emb_proj": "middle_block.2.emb_layers.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.attentions.0.proj_in": "output_blocks.3.1.proj_in",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj": "output_blocks.11.1.transformer_blocks.0.ff.net.0.proj",
    "conv_out": "out.2",
}


def test_original_names_of_stable_diffusion_1(sd15: dict[str, list[str]]) -> None:
    names = unet_to_ldm(sd15["unet"])
    assert {path: names[path] for path in LDM_NAMES} == LDM_NAMES
    assert len(names) == len(set(names.values())) == len(sd15["unet"])


def test_original_names_lead_back(sd15: dict[str, list[str]]) -> None:
    names = unet_to_ldm(sd15["unet"])
    assert unet_from_ldm(names.values(), layers_per_block=2) == {ldm: path for path, ldm in names.items()}
    assert unet_from_ldm(["input_blocks.1.0.strange", "middle_block.0.strange"], 2) == {}


def test_every_written_name_is_found_again(sd15: dict[str, list[str]]) -> None:
    index = NameIndex("sd1", sd15)
    for component, paths in sd15.items():
        for path, name in disk_names("sd1", component, paths).items():
            assert index.find(name.name) == {ModuleRef(component, path): ()}
    for path, ldm in unet_to_ldm(sd15["unet"]).items():
        assert index.find("lora_unet_" + ldm.replace(".", "_")) == {ModuleRef("unet", path): ()}


TO_K = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
TO_OUT = "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0"
QUERY = "encoder.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "component", "path"),
    [
        (f"unet.{TO_K}", "unet", TO_K),
        (f"unet.base_model.model.{TO_K}", "unet", TO_K),
        (f"base_model.model.{TO_K}", "unet", TO_K),
        (TO_K, "unet", TO_K),
        ("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k", "unet", TO_K),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out", "unet", TO_OUT),
        ("diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k", "unet", TO_K),
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", "unet", TO_K),
        ("oft_unet_" + TO_K.replace(".", "_"), "unet", TO_K),
        ("lycoris_" + TO_K.replace(".", "_"), "unet", TO_K),
        (f"text_encoder.text_model.{QUERY}", "text_encoder", QUERY),
        (f"text_encoder.{QUERY}", "text_encoder", QUERY),
        (f"text_encoder.base_model.model.text_model.{QUERY}", "text_encoder", QUERY),
        ("lora_te1_text_model_encoder_layers_0_self_attn_q_proj", "text_encoder", QUERY),
        ("lora_te_encoder_layers_0_self_attn_q_proj", "text_encoder", QUERY),
    ],
)
def test_other_spellings_are_read(sd15: dict[str, list[str]], name: str, component: str, path: str) -> None:
    assert NameIndex("sd1", sd15).find(name) == {ModuleRef(component, path): ()}


def test_names_of_other_models_are_not_found(sd15: dict[str, list[str]]) -> None:
    good = "lora_unet_mid_block_attentions_0_proj_in"
    foreign = ["lora_unet_double_blocks_0_img_attn_qkv", "lora_te2_text_model_encoder_layers_0_mlp_fc1", "", "unet."]
    found, missing = NameIndex("sd1", sd15).match([good, *foreign])
    assert list(found) == [good] and missing == foreign


def test_any_depth() -> None:
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8, 8),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
    )
    paths = modules_of(unet)
    names = unet_to_ldm(paths)
    assert names["down_blocks.2.resnets.0.conv1"] == "input_blocks.5.0.in_layers.2"
    assert names["down_blocks.1.downsamplers.0.conv"] == "input_blocks.4.0.op"
    assert names["up_blocks.0.upsamplers.0.conv"] == "output_blocks.1.1.conv"
    assert names["up_blocks.1.upsamplers.0.conv"] == "output_blocks.3.2.conv"
    assert len(set(names.values())) == len(paths)


def test_two_modules_must_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="same name"):
        disk_names("sd1", "unet", ["a.b_c", "a_b.c"])
