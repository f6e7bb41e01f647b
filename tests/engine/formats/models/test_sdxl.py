"""SDXL at its real size, without weights: names in a single file and in adapter files, counts, variants."""

from __future__ import annotations

from collections import Counter

import pytest
from torch import nn

from engine.config.adapter import LoraOptions
from engine.config.targets import choose
from engine.families.base import ADAPTABLE
from engine.families.parts import build_empty
from engine.formats.lazy_tensor import in_memory
from engine.formats.models import MODELS
from engine.formats.names import disk_names
from engine.formats.single_file import shipped_config
from engine.formats.single_file_writer import stored_tensors

SDXL = MODELS["sdxl"]
PUBLISHED = """
model.diffusion_model.label_emb.0.0.weight model.diffusion_model.label_emb.0.2.bias
model.diffusion_model.input_blocks.3.0.op.weight model.diffusion_model.input_blocks.4.1.proj_in.weight
model.diffusion_model.input_blocks.8.1.transformer_blocks.9.attn2.to_out.0.bias
model.diffusion_model.middle_block.1.transformer_blocks.9.ff.net.0.proj.weight
model.diffusion_model.output_blocks.2.2.conv.weight model.diffusion_model.output_blocks.5.1.transformer_blocks.1.norm3.bias
model.diffusion_model.output_blocks.5.2.conv.bias model.diffusion_model.output_blocks.8.0.skip_connection.weight
first_stage_model.decoder.mid.attn_1.q.weight
conditioner.embedders.0.transformer.text_model.encoder.layers.11.mlp.fc1.weight
conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_weight conditioner.embedders.1.model.text_projection
conditioner.embedders.1.model.positional_embedding conditioner.embedders.1.model.ln_final.weight
"""


@pytest.fixture(scope="module")
def real() -> dict[str, nn.Module]:
    """The published model as the shipped configs describe it, on the meta device."""
    return {name: build_empty(part.kind, shipped_config("sdxl", name)).to("meta") for name, part in SDXL.parts.items()}


def layers(real: dict[str, nn.Module]) -> dict[str, list]:
    paths = {name: [path for path, each in part.named_modules() if isinstance(each, ADAPTABLE)] for name, part in real.items()}
    return {name: SDXL.parts[name].layers(paths[name], shipped_config("sdxl", name)) for name in SDXL.trained}


def test_the_shipped_configs_are_sdxl(real) -> None:
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in real.items()}
    assert counts == {
        "text_encoder": 123_060_480, "text_encoder_2": 694_659_840, "unet": 2_567_463_684, "vae": 83_653_863,
    }  # fmt: skip


def test_names_and_sizes_in_a_single_file(real) -> None:
    names: set[str] = set()
    for name, part in SDXL.parts.items():
        config = shipped_config("sdxl", name)
        stored = stored_tensors(part, in_memory(real[name].state_dict()), config)
        names |= {part.prefixes[0] + key for key in stored}
        shapes = {key: tuple(tensor.shape) for key, tensor in stored.items()}
        shown = part.sizes(shapes)
        assert {key: config.get(key) for key in shown} == shown
        found = part.keys.find(stored, config)
        assert {key: place.size(shapes[place.key]) for key, place in found.items()} == {
            key: tuple(tensor.shape) for key, tensor in real[name].state_dict().items()
        }
    assert set(PUBLISHED.split()) <= names
    assert len(names) == 2515 - 2  # of the published file nobody reads position_ids and logit_scale


@pytest.mark.parametrize(
    ("conv_rank", "counts"),
    [
        (0, {"text_encoder": 72, "text_encoder_2": 192, "unet": 722}),
        (4, {"text_encoder": 72, "text_encoder_2": 192, "unet": 788}),
    ],
)
def test_what_kohyas_trainer_adapts(real, conv_rank: int, counts: dict[str, int]) -> None:
    chosen = choose(layers(real), LoraOptions(train_text_encoder=True, conv_rank=conv_rank))
    assert {name: len(targets) for name, targets in chosen.items()} == counts
    assert sum(counts.values()) == (1052 if conv_rank else 986)


def test_names_in_adapter_files_are_kohyas(real) -> None:
    names = {
        each.name
        for component, listed in layers(real).items()
        for each in disk_names("sdxl", component, [layer.path for layer in listed]).values()
    }
    parts = ("self_attn_q_proj", "self_attn_out_proj", "mlp_fc1", "mlp_fc2")
    assert {f"lora_te1_text_model_encoder_layers_{number}_{part}" for number in range(12) for part in parts} <= names
    assert {f"lora_te2_text_model_encoder_layers_{number}_{part}" for number in range(32) for part in parts} <= names
    blocks = {
        "input_blocks_4_1": 2,
        "input_blocks_8_1": 10,
        "middle_block_1": 10,
        "output_blocks_2_1": 10,
        "output_blocks_5_1": 2,
    }
    for block, depth in blocks.items():
        assert {f"lora_unet_{block}_proj_in", f"lora_unet_{block}_transformer_blocks_{depth - 1}_attn2_to_out_0"} <= names
        assert f"lora_unet_{block}_transformer_blocks_{depth}_attn2_to_out_0" not in names
    assert {
        "lora_unet_input_blocks_1_0_in_layers_2", "lora_unet_input_blocks_3_0_op", "lora_unet_output_blocks_2_2_conv",
        "lora_unet_output_blocks_0_0_skip_connection", "lora_unet_label_emb_0_0", "lora_unet_label_emb_0_2",
        "lora_unet_time_embed_2", "lora_unet_out_2",
    } <= names  # fmt: skip
    assert not any(name.startswith(("lora_unet_down_", "lora_unet_mid_", "lora_unet_up_")) for name in names)


def test_every_layer_says_what_lets_it_learn_and_where_its_heads_are(real) -> None:
    found = layers(real)
    switches = {name: Counter(layer.switch for layer in listed) for name, listed in found.items()}
    assert all(list(switches[name]) == ["train_text_encoder"] for name in ("text_encoder", "text_encoder_2"))
    assert list(switches["unet"]) == ["train_unet"]
    heads = {layer.path: layer.heads for listed in found.values() for layer in listed if layer.group == "attention"}
    assert heads["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"] == 10
    assert heads["up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"] == 20
    assert heads["text_model.encoder.layers.0.self_attn.q_proj"] == 20


@pytest.mark.parametrize(
    ("channels", "metadata", "variant"),
    [
        (4, {}, "base"),
        (4, {"modelspec.prediction_type": "epsilon"}, "base"),
        (4, {"modelspec.prediction_type": "v"}, "v"),
        (9, {}, "inpainting"),
    ],
)
def test_variants(channels: int, metadata: dict[str, str], variant: str) -> None:
    shapes = {"input_blocks.0.0.weight": (320, channels, 3, 3), "out.2.weight": (4, 320, 3, 3)}
    assert SDXL.variant(shapes, metadata) == variant
    scheduler = {"prediction_type": "v_prediction" if variant == "v" else "epsilon"}
    assert SDXL.folder_variant({"unet": {"in_channels": channels, "out_channels": 4}, "scheduler": scheduler}) == variant
    with pytest.raises(ValueError, match="8 channels"):
        SDXL.variant(shapes | {"input_blocks.0.0.weight": (320, 8, 3, 3)}, metadata)
