"""Ranks by module and by block, for every writer's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.formats.module_facts import BlockRanks, ModuleFacts, block_of, module_facts, ranks_by_block


@pytest.mark.parametrize(
    ("module", "block"),
    [
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "text 11"),
        ("lora_te2_text_model_encoder_layers_3_self_attn_q_proj", "text2 3"),
        ("text_encoder.text_model.encoder.layers.0.mlp.fc2", "text 0"),
        ("text_encoder_2.encoder.layers.7.mlp.fc2", "text2 7"),
        ("lora_te3_encoder_block_23_layer_0_SelfAttention_q", "text3 23"),
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k", "down 1.0"),
        ("unet.up_blocks.3.resnets.2.conv1", "up 3.2"),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", "down 0 sampler"),
        ("base_model.model.mid_block.attentions.0.proj_in", "mid"),
        ("lora_unet_input_blocks_4_1_proj_in", "in 4"),
        ("lora_unet_middle_block_1_proj_in", "mid"),
        ("lora_unet_output_blocks_11_1_proj_out", "out 11"),
        ("lora_unet_double_blocks_18_img_attn_qkv", "double 18"),
        ("transformer.single_transformer_blocks.37.attn.to_q", "single 37"),
        ("lora_unet_joint_blocks_2_x_block_attn_qkv", "joint 2"),
        ("lora_transformer_transformer_blocks_5_attn_to_q", "block 5"),
        ("lora_unet_conv_in", "other"),
    ],
)
def test_blocks(module: str, block: str) -> None:
    assert block_of(module) == block


def test_each_module_of_a_mixed_file(tmp_path: Path) -> None:
    head = "lora_unet_mid_block_attentions_0_"
    content = {
        f"{head}a.lora_down.weight": torch.ones(4, 6), f"{head}a.lora_up.weight": torch.ones(6, 4),
        f"{head}b.hada_w1_a": torch.ones(6, 3), f"{head}b.hada_w1_b": torch.ones(3, 6),
        f"{head}c.lokr_w1": torch.ones(2, 2), f"{head}c.lokr_w2": torch.ones(3, 3), f"{head}d.w_norm": torch.ones(6),
        **{f"{head}e.{name}.weight": torch.ones(*size) for name, size in (("a1", (2, 6)), ("a2", (6, 2)), ("b1", (2, 6)), ("b2", (6, 2)))},
    }  # fmt: skip
    save_file(content, tmp_path / "x.safetensors")
    facts = module_facts(tmp_path / "x.safetensors")
    assert {name.removeprefix(head): (each.algorithm, each.rank) for name, each in facts.items()} == {
        "a": ("lora", 4), "b": ("loha", 3), "c": ("lokr", None), "d": ("norm", None), "e": ("glora", 2),
    }  # fmt: skip
    assert ranks_by_block(facts) == {"mid": BlockRanks(3, 2, 3.0, 4)}


def test_blocks_come_in_the_order_of_the_model() -> None:
    blocks = [
        "text 0",
        "text 10",
        "text2 2",
        "down 0.0",
        "down 0.1",
        "down 0 sampler",
        "down 1.0",
        "mid",
        "up 0.2",
        "up 0 sampler",
        "up 10.0",
        "other",
    ]
    facts = {str(place): ModuleFacts("lora", 4, block) for place, block in enumerate(reversed(blocks))}
    assert list(ranks_by_block(facts)) == blocks
