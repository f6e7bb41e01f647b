"""Module names against fixed lists: what the ecosystem writes, whatever the installed library calls its modules."""

from __future__ import annotations

import re

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from engine.families.base import adaptable_layers
from engine.formats.ldm_names import unet_from_ldm, unet_to_ldm
from engine.formats.names import SWAPPED, ModuleRef, NameIndex, disk_names
from tests.support.published import published

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


REAL = {
    "sd1": ("sd1", {"text_encoder": 72, "unet": 192}, 278),
    "sd2": ("sd2", {"text_encoder": 138, "unet": 192}, 278),
    "sdxl": ("sdxl", {"text_encoder": 72, "text_encoder_2": 192, "unet": 722}, 788),
    "sd3": ("sd3_medium", {"text_encoder": 72, "text_encoder_2": 192, "text_encoder_3": 168, "transformer": 237}, 237),
    "flux": ("flux_dev", {"text_encoder": 72, "text_encoder_2": 168, "transformer": 304}, 304),
}
"""Family -> folder of configs, modules in a file of Kohya's trainer by component, and those of what draws with convolutions."""


@pytest.mark.parametrize("family", REAL)
def test_as_many_modules_as_kohyas_trainer_writes(family: str) -> None:
    """At real size; each name means just the layers that are written under it, each with its rows."""
    configs, counts, convolved = REAL[family]
    parts = published(family, configs)
    layers = adaptable_layers(family, parts)
    index = NameIndex(family, {component: [layer.path for layer in listed] for component, listed in layers.items()})
    for component, listed in layers.items():
        names = disk_names(family, component, [layer.path for layer in listed])
        kohyas = [layer.path for layer in listed if layer.group in ("attention", "mlp")]
        assert len({names[path].name for path in kohyas}) == counts[component]
        more = [layer.path for layer in listed if layer.group in ("attention", "mlp", "convolution")]
        assert component.startswith("text_encoder") or len({names[path].name for path in more}) == convolved
        meant: dict[str, dict[ModuleRef, object]] = {}
        for path, name in names.items():
            meant.setdefault(name.name, {})[ModuleRef(component, path)] = name.rows
            assert not name.rows or index.find(name.apart) == {ModuleRef(component, path): ()}
        assert all(index.find(name) == refs for name, refs in meant.items())


SDXL_NAMES = {
    "add_embedding.linear_1": "lora_unet_label_emb_0_0",
    "add_embedding.linear_2": "lora_unet_label_emb_0_2",
    "time_embedding.linear_1": "lora_unet_time_embed_0",
    "down_blocks.0.resnets.0.conv1": "lora_unet_input_blocks_1_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "lora_unet_input_blocks_3_0_op",
    "down_blocks.1.attentions.0.proj_in": "lora_unet_input_blocks_4_1_proj_in",
    "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k": "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k",
    "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj": "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
    "up_blocks.0.upsamplers.0.conv": "lora_unet_output_blocks_2_2_conv",
    "up_blocks.1.attentions.2.transformer_blocks.1.attn1.to_out.0": "lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_out_0",
    "up_blocks.2.resnets.2.conv_shortcut": "lora_unet_output_blocks_8_0_skip_connection",
}  # fmt: skip
FLUX_NAMES = {
    "transformer_blocks.18.attn.to_k": ("lora_unet_double_blocks_18_img_attn_qkv", ((1, 2, 3),)),
    "transformer_blocks.18.attn.add_v_proj": ("lora_unet_double_blocks_18_txt_attn_qkv", ((2, 3, 3),)),
    "transformer_blocks.0.attn.to_add_out": ("lora_unet_double_blocks_0_txt_attn_proj", ()),
    "transformer_blocks.0.ff.net.0.proj": ("lora_unet_double_blocks_0_img_mlp_0", ()),
    "transformer_blocks.0.norm1_context.linear": ("lora_unet_double_blocks_0_txt_mod_lin", ()),
    "single_transformer_blocks.37.proj_mlp": ("lora_unet_single_blocks_37_linear1", ((3, 7, 7),)),
    "single_transformer_blocks.0.proj_out": ("lora_unet_single_blocks_0_linear2", ()),
    "single_transformer_blocks.0.norm.linear": ("lora_unet_single_blocks_0_modulation_lin", ()),
    "time_text_embed.guidance_embedder.linear_1": ("lora_unet_guidance_in_in_layer", ()),
    "norm_out.linear": ("lora_unet_final_layer_adaLN_modulation_1", SWAPPED),
}
SD3_NAMES = {
    "transformer_blocks.0.attn.to_q": ("lora_unet_joint_blocks_0_x_block_attn_qkv", ((0, 1, 3),)),
    "transformer_blocks.23.attn.add_k_proj": ("lora_unet_joint_blocks_23_context_block_attn_qkv", ((1, 2, 3),)),
    "transformer_blocks.22.norm1_context.linear": ("lora_unet_joint_blocks_22_context_block_adaLN_modulation_1", ()),
    "transformer_blocks.23.norm1_context.linear": ("lora_unet_joint_blocks_23_context_block_adaLN_modulation_1", SWAPPED),
    "transformer_blocks.23.ff.net.2": ("lora_unet_joint_blocks_23_x_block_mlp_fc2", ()),
}


@pytest.fixture(scope="module")
def paths() -> dict[str, dict[str, list[str]]]:
    """Family -> component -> paths of the layers, at real size."""
    found = {}
    for family, configs in {"sdxl": "sdxl", "sd3": "sd3_medium", "flux": "flux_dev", "z_image": "z_image"}.items():
        layers = adaptable_layers(family, published(family, configs))
        found[family] = {component: [layer.path for layer in listed] for component, listed in layers.items()}
    return found


def test_names_of_sdxl(paths: dict) -> None:
    names = disk_names("sdxl", "unet", paths["sdxl"]["unet"])
    assert {path: names[path].name for path in SDXL_NAMES} == SDXL_NAMES
    encoders = [disk_names("sdxl", name, paths["sdxl"][name]) for name in ("text_encoder", "text_encoder_2")]
    assert encoders[0]["encoder.layers.11.mlp.fc1"].name == "lora_te1_text_model_encoder_layers_11_mlp_fc1"
    assert (
        encoders[1]["text_model.encoder.layers.31.self_attn.q_proj"].name
        == "lora_te2_text_model_encoder_layers_31_self_attn_q_proj"
    )


@pytest.mark.parametrize(("family", "expected"), [("flux", FLUX_NAMES), ("sd3", SD3_NAMES)])
def test_names_of_transformers(paths: dict, family: str, expected: dict) -> None:
    names = disk_names(family, "transformer", paths[family]["transformer"])
    assert {path: (names[path].name, names[path].rows) for path in expected} == expected


def test_names_of_t5(paths: dict) -> None:
    """Kohya's trainer counts it as the third in FLUX too."""
    for family, component in {"sd3": "text_encoder_3", "flux": "text_encoder_2"}.items():
        names = disk_names(family, component, paths[family][component])
        assert names["encoder.block.23.layer.0.SelfAttention.o"].name == "lora_te3_encoder_block_23_layer_0_SelfAttention_o"
        assert names["encoder.block.0.layer.1.DenseReluDense.wi_1"].name == "lora_te3_encoder_block_0_layer_1_DenseReluDense_wi_1"


Q, K, V = (f"transformer_blocks.3.attn.to_{part}" for part in "qkv")
SINGLE = [f"single_transformer_blocks.3.{part}" for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")]
THIRDS = {path: ((row, row + 1, 3),) for row, path in enumerate((Q, K, V))}
SPELLINGS = [
    ("flux", "transformer.transformer_blocks.3.attn.to_q", {Q: ()}),
    ("flux", "transformer.single_transformer_blocks.3.proj_mlp", {SINGLE[3]: ()}),
    ("flux", "lora_transformer_transformer_blocks_3_attn_to_k", {K: ()}),
    ("flux", "lycoris_transformer_blocks_3_attn_to_v", {V: ()}),
    ("flux", "lycoris_single_transformer_blocks_3_attn_to_q", {SINGLE[0]: ()}),
    ("flux", "base_model.model.transformer_blocks.3.attn.to_q", {Q: ()}),
    ("flux", "diffusion_model.double_blocks.3.img_attn.qkv", THIRDS),
    ("flux", "double_blocks.3.img_attn.qkv", THIRDS),
    ("flux", "transformer.double_blocks.3.img_attn.qkv", THIRDS),
    ("flux", "lycoris_double_blocks_3_img_attn_qkv", THIRDS),
    ("flux", "double_blocks.3.processor.qkv_lora1", THIRDS),
    ("flux", "diffusion_model.double_blocks.3.processor.proj_lora2", {"transformer_blocks.3.attn.to_add_out": ()}),
    ("flux", "single_blocks.3.processor.qkv", {path: ((row, row + 1, 3),) for row, path in enumerate(SINGLE[:3])}),
    ("flux", "single_blocks.3.processor.proj", {"single_transformer_blocks.3.proj_out": ()}),
    ("flux", "lora_unet_single_blocks_3_linear1", {
        path: (run,) for path, run in zip(SINGLE, ((0, 1, 7), (1, 2, 7), (2, 3, 7), (3, 7, 7)), strict=True)
    }),
    ("flux", "final_layer.adaLN_modulation.1", {"norm_out.linear": SWAPPED}),
    ("flux", "transformer.norm_out.linear", {"norm_out.linear": ()}),
    ("sd3", "transformer.transformer_blocks.3.attn.to_q", {Q: ()}),
    ("sd3", "diffusion_model.joint_blocks.3.x_block.attn.qkv", THIRDS),
    ("sd3", "lora_unet_joint_blocks_3_x_block_attn_qkv", THIRDS),
    ("sdxl", "unet.add_embedding.linear_1", {"add_embedding.linear_1": ()}),
    ("sdxl", "lora_unet_down_blocks_1_attentions_0_proj_in", {"down_blocks.1.attentions.0.proj_in": ()}),
    ("z_image", "diffusion_model.layers.3.attention.to_q", {"layers.3.attention.to_q": ()}),
    ("z_image", "lora_unet_layers_3_attention_qkv", {f"layers.3.attention.to_{part}": ((row, row + 1, 3),) for row, part in enumerate("qkv")}),
    ("z_image", "lycoris_layers_3_attention_to_out_0", {"layers.3.attention.to_out.0": ()}),
    ("z_image", "transformer.layers.3.attention.out", {"layers.3.attention.to_out.0": ()}),
]  # fmt: skip
ENCODERS = [
    ("sdxl", "lora_te2_text_model_encoder_layers_31_mlp_fc1", "text_encoder_2", "text_model.encoder.layers.31.mlp.fc1"),
    ("sdxl", "text_encoder_2.text_model.encoder.layers.31.mlp.fc1", "text_encoder_2", "text_model.encoder.layers.31.mlp.fc1"),
    ("sdxl", "text_encoder.text_model.encoder.layers.0.mlp.fc1", "text_encoder", "encoder.layers.0.mlp.fc1"),
    ("flux", "lora_te3_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_2", "encoder.block.0.layer.0.SelfAttention.q"),
    ("flux", "lora_te2_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_2", "encoder.block.0.layer.0.SelfAttention.q"),
    (
        "sd3",
        "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q",
        "text_encoder_3",
        "encoder.block.0.layer.0.SelfAttention.q",
    ),
    ("sd3", "lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder", "text_model.encoder.layers.0.mlp.fc1"),
]


@pytest.mark.parametrize(("family", "name", "expected"), SPELLINGS)
def test_spellings_of_other_families(paths: dict, family: str, name: str, expected: dict) -> None:
    (component,) = {"unet", "transformer"} & paths[family].keys()
    assert NameIndex(family, paths[family]).find(name) == {ModuleRef(component, path): rows for path, rows in expected.items()}


@pytest.mark.parametrize(("family", "name", "component", "path"), ENCODERS)
def test_spellings_of_their_text_encoders(paths: dict, family: str, name: str, component: str, path: str) -> None:
    assert NameIndex(family, paths[family]).find(name) == {ModuleRef(component, path): ()}
