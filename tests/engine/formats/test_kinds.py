"""Files are told apart by their keys alone."""

from __future__ import annotations

import pytest

from engine.formats.kinds import detect_kind, recognise
from engine.formats.safetensors_header import Header, TensorInfo


@pytest.mark.parametrize(
    ("key", "family", "kind"),
    [
        ("conditioner.embedders.0.transformer.text_model.x", "sdxl", "checkpoint"),  # its U-Net is missing, which is told
        ("conditioner.embedders.0.model.ln_final.weight", None, "unknown"),  # SDXL's refiner
        ("model.diffusion_model.double_blocks.0.txt_attn.individual_token_refiner.x", None, "checkpoint"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "sd3", "checkpoint"),
        ("model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "flux", "checkpoint"),
        ("double_blocks.0.img_attn.qkv.weight", "flux", "checkpoint"),
        ("model.diffusion_model.layers.0.adaLN_modulation.0.weight", "z_image", "checkpoint"),
        ("layers.0.adaLN_modulation.0.weight", "z_image", "checkpoint"),
        ("model.diffusion_model.layers.0.adaLN_modulation.1.weight", None, "checkpoint"),  # Lumina 2
        ("cond_stage_model.model.transformer.resblocks.0.x", "sd2", "checkpoint"),
        ("decoder.conv_in.weight", None, "vae"),
        ("emb_params", None, "embedding"),
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", None, "adapter"),
        ("something.else", None, "unknown"),
    ],
)
def test_fingerprints(key: str, family: str | None, kind: str) -> None:
    header = Header({}, {key: TensorInfo("F32", (1,), 0, 4)}, 0)
    assert (recognise(header), detect_kind(header)) == (family, kind)
