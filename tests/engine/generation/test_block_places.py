"""Which layers of the published models lie in which block."""

from __future__ import annotations

from functools import cache

import pytest

from engine.adapters.network import layer_paths
from engine.generation.block_places import block_places
from engine.generation.blocks import BLOCKS
from tests.support.published import published


@cache
def places(family: str, component: str) -> dict[str, str]:
    part = published(family, {"flux": "flux_dev"}.get(family, family))[component]
    return block_places(family, component, layer_paths(part))


def blocks_in(family: str, *words: str) -> set[str]:
    """The blocks of the denoiser's layers that have one of these words in their path."""
    component = "transformer" if family == "flux" else "unet"
    return {block for path, block in places(family, component).items() if any(word in path for word in words)}


@pytest.mark.parametrize(("family", "short", "long"), [("sd1", 17, 26), ("sdxl", 12, 20)])
def test_the_lists_are_those_of_the_blocks_with_attention_and_of_all(family: str, short: int, long: int) -> None:
    assert {*blocks_in(family, ".attentions."), "BASE"} == set(BLOCKS[short])
    assert {*blocks_in(family, ""), "BASE"} == set(BLOCKS[long])


def test_the_list_of_flux_is_that_of_all_its_blocks() -> None:
    assert {*blocks_in("flux", ""), "CLIP", "T5"} == set(BLOCKS[61])


@pytest.mark.parametrize(
    ("family", "path", "block"),
    [
        ("sd1", "conv_in", "IN00"),
        ("sd1", "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q", "IN02"),
        ("sd1", "down_blocks.2.downsamplers.0.conv", "IN09"),
        ("sd1", "down_blocks.3.resnets.1.conv2", "IN11"),
        ("sd1", "mid_block.attentions.0.proj_in", "MID"),
        ("sd1", "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.2", "OUT05"),
        ("sd1", "up_blocks.0.upsamplers.0.conv", "OUT02"),
        ("sdxl", "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k", "IN08"),
        ("sdxl", "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v", "OUT00"),
    ],
)
def test_blocks_of_unets(family: str, path: str, block: str) -> None:
    assert places(family, "unet")[path] == block


def test_what_surrounds_the_blocks_of_a_unet_is_in_none() -> None:
    assert not {"conv_out", "conv_norm_out", "time_embedding.linear_1"} & places("sd1", "unet").keys()
    assert "add_embedding.linear_1" not in places("sdxl", "unet")


def test_blocks_of_flux() -> None:
    found = places("flux", "transformer")
    assert found["transformer_blocks.7.attn.add_k_proj"] == "D07" and found["single_transformer_blocks.37.proj_out"] == "S37"
    assert found["x_embedder"] == found["time_text_embed.guidance_embedder.linear_2"] == "IN"
    assert found["norm_out.linear"] == found["proj_out"] == "OUT"


def test_text_encoders() -> None:
    paths = ["encoder.layers.0.mlp.fc1"]
    assert block_places("sdxl", "text_encoder_2", paths) == block_places("sd2", "text_encoder", paths) == {paths[0]: "BASE"}
    assert block_places("flux", "text_encoder", paths) == {paths[0]: "CLIP"}
    assert block_places("flux", "text_encoder_2", paths) == {paths[0]: "T5"}
