"""Stable Diffusion 3 and 3.5 (Esser et al. 2024): two streams, of text and of the picture, that meet in attention.

Three text encoders read the prompt: CLIP-L, OpenCLIP-bigG and T5-XXL, which the model also works without, as the first two are
left out at random in its training. 3.5 normalises queries and keys; its medium size looks at the picture a second time in the
first 13 of its 24 blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.formats.layouts.sd3 import Sd3Keys, sd3_sizes
from engine.formats.models.base import Habits, ModelFormat, Part, Shapes, Variant
from engine.formats.models.parts import agree, clip, pair_agrees, t5, vae
from engine.formats.sd3_layers import sd3_layers

_HABITS = Habits("Euler", steps=28, guidance_scale=4.5, resolution=1024, clip_skip=0)

MEDIUM = Variant(
    "Stable Diffusion 3 medium", "medium", "stable-diffusion-3-medium", "sd3_medium", replace(_HABITS, guidance_scale=7.0), "flow",
)  # fmt: skip
NEW_MEDIUM = Variant(
    "Stable Diffusion 3.5 medium", "5-medium", "stable-diffusion-3-5-medium", "sd35_medium", _HABITS, "flow"
)  # fmt: skip
NEW_LARGE = Variant("Stable Diffusion 3.5 large", "5-large", "stable-diffusion-3-5-large", "sd35_large", _HABITS, "flow")


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    return _folder_variant({"transformer": sd3_sizes(shapes)})


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    transformer = configs["transformer"]
    if not transformer.get("qk_norm"):
        return "medium"
    return "3.5_medium" if transformer.get("dual_attention_layers") else "3.5_large"


def _fits(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    transformer = configs["transformer"]
    return pair_agrees(configs, transformer["pooled_projection_dim"]) and agree(
        configs,
        ("text_encoder_3", "d_model", transformer["joint_attention_dim"]),
        ("vae", "latent_channels", transformer["in_channels"]),
    )


SD3 = ModelFormat(
    title="Stable Diffusion 3",
    pipelines=("StableDiffusion3Pipeline",),
    denoiser="transformer",
    parts={
        # SD3 takes CLIP-L's summary of the text as it is; diffusers multiplies it by 1, files have nothing or another model's matrix
        "text_encoder": replace(
            clip("CLIP-L text encoder", ("text_encoders.clip_l.transformer.", ""), "lora_te1_", projected=True),
            identity="text_projection.weight",
        ),
        "text_encoder_2": clip(
            "OpenCLIP-bigG text encoder", ("text_encoders.clip_g.transformer.", ""), "lora_te2_", projected=True,
            file="clip_g.safetensors",
        ),
        "text_encoder_3": t5(("text_encoders.t5xxl.transformer.", "")),
        "transformer": Part(
            "transformer", "sd3", ("model.diffusion_model.", ""), r"joint_blocks\.0\.x_block\.attn\.qkv\.weight",
            Sd3Keys(), sd3_sizes, sd3_layers, "lora_unet_", named_as_stored=True,
        ),
        "vae": vae("sd3_vae.safetensors"),
    },
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2", "text_encoder_3": "tokenizer_3"},
    variants={"medium": MEDIUM, "3.5_medium": NEW_MEDIUM, "3.5_large": NEW_LARGE},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=_fits,
    patch=2,
    optional=("text_encoder_3",),
)  # fmt: skip
