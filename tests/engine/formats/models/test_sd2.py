"""Stable Diffusion 2.x at its real size, without weights: names, the block that is not read, variants."""

from __future__ import annotations

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

SD2 = MODELS["sd2"]


@pytest.fixture(scope="module")
def real() -> dict[str, nn.Module]:
    """The published model as the shipped configs describe it, on the meta device."""
    return {name: build_empty(part.kind, shipped_config("sd2", name)).to("meta") for name, part in SD2.parts.items()}


def stored_shapes(real: dict[str, nn.Module], name: str) -> dict[str, tuple[int, ...]]:
    stored = stored_tensors(SD2.parts[name], in_memory(real[name].state_dict()), shipped_config("sd2", name))
    return {key: tuple(tensor.shape) for key, tensor in stored.items()}


def test_the_shipped_configs_are_stable_diffusion_2(real) -> None:
    counts = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in real.items()}
    assert counts == {"text_encoder": 340_387_840, "unet": 865_910_724, "vae": 83_653_863}


@pytest.mark.parametrize("name", ["text_encoder", "unet", "vae"])
def test_sizes_come_back_from_a_single_file(real, name: str) -> None:
    shown, config = SD2.parts[name].sizes(stored_shapes(real, name)), shipped_config("sd2", name)
    shown.pop("projection_dim", None)  # without a projection it is nothing's
    assert {key: config.get(key) for key in shown} == shown


def test_the_last_block_of_the_text_encoder_is_not_read(real) -> None:
    """The published files have OpenCLIP-H whole."""
    part, shapes = SD2.parts["text_encoder"], stored_shapes(real, "text_encoder")
    last = {key.replace(".22.", ".23."): shape for key, shape in shapes.items() if ".resblocks.22." in key}
    whole = shapes | last | {"text_projection": (1024, 1024), "logit_scale": ()}
    assert len(last) == 12 and part.sizes(whole)["num_hidden_layers"] == 23
    found = part.keys.find(whole, shipped_config("sd2", "text_encoder"))
    assert set(found) - {"text_projection.weight"} == set(real["text_encoder"].state_dict())


def test_what_kohyas_trainer_adapts(real) -> None:
    paths = {name: [path for path, each in part.named_modules() if isinstance(each, ADAPTABLE)] for name, part in real.items()}
    listed = {name: SD2.parts[name].layers(paths[name], shipped_config("sd2", name)) for name in SD2.trained}
    counts = {
        rank: {name: len(found) for name, found in choose(listed, LoraOptions(train_text_encoder=True, conv_rank=rank)).items()}
        for rank in (0, 4)
    }
    assert counts == {0: {"text_encoder": 23 * 6, "unet": 192}, 4: {"text_encoder": 23 * 6, "unet": 278}}
    names = {
        each.name for name, found in listed.items() for each in disk_names("sd2", name, [layer.path for layer in found]).values()
    }
    assert {
        "lora_te_text_model_encoder_layers_22_self_attn_q_proj", "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_out_0", "lora_unet_mid_block_resnets_1_conv2",
    } <= names  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "metadata", "variant"),
    [
        (4, {}, "v"),
        (4, {"modelspec.prediction_type": "v"}, "v"),
        (4, {"modelspec.prediction_type": "epsilon", "modelspec.resolution": "768x768"}, "base"),
        (4, {"modelspec.architecture": "stable-diffusion-v2-512"}, "base"),
        (4, {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v"),
        (9, {}, "inpainting"),
    ],
)
def test_variants_of_files(channels: int, metadata: dict[str, str], variant: str) -> None:
    shapes = {"input_blocks.0.0.weight": (320, channels, 3, 3), "out.2.weight": (4, 320, 3, 3)}
    assert SD2.variant(shapes, metadata) == variant


@pytest.mark.parametrize(
    ("channels", "prediction", "variant"), [(4, "epsilon", "base"), (4, "v_prediction", "v"), (9, "epsilon", "inpainting")]
)
def test_variants_of_folders(channels: int, prediction: str, variant: str) -> None:
    unet = {"in_channels": channels, "out_channels": 4}
    assert SD2.folder_variant({"unet": unet, "scheduler": {"prediction_type": prediction}}) == variant
    with pytest.raises(ValueError, match="5 channels"):  # told the depth of the picture
        SD2.folder_variant({"unet": unet | {"in_channels": 5}, "scheduler": {}})
