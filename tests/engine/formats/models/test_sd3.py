"""Stable Diffusion 3 as it was published, on the meta device: its layers, their names in adapter files, its files' shapes."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.adapter import LoraOptions
from engine.config.targets import GROUPS, Layer, choose
from engine.families.base import adaptable_layers, config_of
from engine.families.parts import build_empty
from engine.formats.models.sd3 import SD3
from engine.formats.names import disk_names
from engine.formats.single_file import shipped_config

ON_DISK = {"medium": 237, "3.5_medium": 237 + 2 * 13, "3.5_large": 10 * 37 + 7}
"""Kohya's count for medium; the second attention of a block is two modules more, a block ten."""


def published(part: str, variant: str = "medium") -> Any:
    return build_empty(SD3.parts[part].kind, shipped_config(SD3.variants[variant].configs, part))


@pytest.fixture(scope="module", params=ON_DISK)
def transformer(request) -> tuple[str, Any]:
    return request.param, published("transformer", request.param)


def in_file(part: str, layers: list[Layer]) -> set[str]:
    names = disk_names("sd3", part, [layer.path for layer in layers])
    return {names[layer.path].name for layer in layers if layer.group in GROUPS["attention+mlp"]}


def test_kohyas_modules_of_the_transformer(transformer):
    variant, network = transformer
    names = in_file("transformer", adaptable_layers("sd3", {"transformer": network})["transformer"])
    assert len(names) == ON_DISK[variant]
    last = network.config.num_layers - 1
    kinds = ("attn_qkv", "attn_proj", "mlp_fc1", "mlp_fc2", "adaLN_modulation_1")
    expected = {
        f"lora_unet_joint_blocks_{i}_{s}_block_{kind}" for i in range(last + 1) for s in ("x", "context") for kind in kinds
    }
    expected -= {f"lora_unet_joint_blocks_{last}_context_block_{kind}" for kind in kinds[1:4]}
    seconds = network.config.dual_attention_layers
    expected |= {f"lora_unet_joint_blocks_{i}_x_block_attn2_{kind}" for i in seconds for kind in ("qkv", "proj")}
    assert names == expected


@pytest.mark.parametrize(
    ("part", "start", "count", "switch"),
    [
        ("text_encoder", "lora_te1_text_model_encoder_layers_11_self_attn_", 72, "train_text_encoder"),
        ("text_encoder_2", "lora_te2_text_model_encoder_layers_31_self_attn_", 192, "train_text_encoder"),
        ("text_encoder_3", "lora_te3_encoder_block_23_layer_0_SelfAttention_", 168, "train_t5"),
    ],
)
def test_kohyas_modules_of_the_text_encoders(part, start, count, switch):
    layers = adaptable_layers("sd3", {part: published(part)})[part]
    names = in_file(part, layers)
    assert len(names) == count
    assert any(name.startswith(start) for name in names)
    assert {layer.switch for layer in layers} == {switch}


def test_each_encoder_learns_by_its_own_switch():
    layers = adaptable_layers("sd3", {name: published(name) for name in ("text_encoder", "text_encoder_3", "transformer")})
    for options, learning in (
        (LoraOptions(), {"transformer"}),
        (LoraOptions(train_text_encoder=True), {"transformer", "text_encoder"}),
        (LoraOptions(train_unet=False, train_t5=True), {"text_encoder_3"}),
    ):
        assert {name for name, chosen in choose(layers, options).items() if chosen} == learning


def test_layers_that_read_the_same_share_a_word(transformer):
    _, network = transformer
    layers = {layer.path: layer for layer in adaptable_layers("sd3", {"transformer": network})["transformer"]}
    read: dict[str, int] = {}
    for name in ("attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"):
        layer = layers[f"transformer_blocks.0.{name}"]
        assert layer.heads == network.config.num_attention_heads
        read[layer.shared_input] = read.get(layer.shared_input, 0) + 1
    assert list(read.values()) == [3, 3]
    assert layers["transformer_blocks.0.attn.to_add_out"].head_axis == "inputs"


def test_the_shapes_of_a_file_show_the_config_and_the_variant(transformer):
    variant, network = transformer
    part, shapes, state = SD3.parts["transformer"], {}, network.state_dict()
    for key, place in part.keys.places(state, network.config).items():
        rows, *rest = state[key].shape
        shapes[place.key] = (rows * (place.share or (0, 1, 1))[2], *rest)
    shown = part.sizes(shapes)
    own = config_of(network)
    assert {key: list(own[key]) if isinstance(own[key], tuple) else own[key] for key in shown} == shown
    assert SD3.variant(shapes, {}) == SD3.folder_variant({"transformer": own}) == variant


def test_no_transformer_of_another_family_passes():
    with pytest.raises(KeyError):
        SD3.parts["transformer"].sizes({"img_in.weight": (3072, 64)})
