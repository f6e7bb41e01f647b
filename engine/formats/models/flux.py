"""FLUX.1 (Black Forest Labs 2024): 19 blocks with a stream for text and one for the picture, 38 with one for both; 11.9 billion numbers.

T5-XXL reads the prompt, CLIP-L adds one vector of it. Both published models are distilled: dev is told a guidance instead of
being asked twice, schnell needs 4 steps and none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.formats.flux_layers import flux_layers
from engine.formats.layouts.flux import FLUX as KEYS
from engine.formats.layouts.flux import flux_sizes
from engine.formats.models.base import Habits, ModelFormat, Part, Shapes, Variant
from engine.formats.models.parts import agree, clip, t5, vae

DEV = Variant(
    "FLUX.1 dev", "flux1", "flux-1-dev", "flux_dev",
    Habits("Euler", steps=20, guidance_scale=1.0, distilled_guidance=3.5, resolution=1024, clip_skip=0, text_length=512), "flow",
)  # fmt: skip
SCHNELL = Variant(
    "FLUX.1 schnell", "flux1", "flux-1-schnell", "flux_schnell",
    Habits("Euler", steps=4, guidance_scale=1.0, resolution=1024, clip_skip=0, text_length=256), "flow",
)  # fmt: skip


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    """Raises:
    KeyError: there is no pooled text: Chroma, FLUX.2.
    ValueError: it is told another picture: FLUX.1 Fill, Canny, Depth.
    """
    sizes = flux_sizes(shapes)
    if sizes["in_channels"] != (outputs := shapes["final_layer.linear.weight"][0]):
        raise ValueError(f"the transformer takes {sizes['in_channels']} numbers of a patch and gives {outputs}")
    return _folder_variant({"transformer": sizes})


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    return "dev" if configs["transformer"]["guidance_embeds"] else "schnell"


def _fits(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    transformer = configs["transformer"]
    return agree(
        configs,
        ("text_encoder", "hidden_size", transformer["pooled_projection_dim"]),
        ("text_encoder_2", "d_model", transformer["joint_attention_dim"]),
        ("vae", "latent_channels", transformer["in_channels"] // 4),
    )


FLUX = ModelFormat(
    title="FLUX.1",
    pipelines=("FluxPipeline",),
    denoiser="transformer",
    parts={
        "text_encoder": clip("CLIP-L text encoder", ("text_encoders.clip_l.transformer.", ""), "lora_te1_"),
        "text_encoder_2": t5(("text_encoders.t5xxl.transformer.", "")),
        "transformer": Part(
            "transformer", "flux", ("model.diffusion_model.", ""), r"double_blocks\.0\.img_attn\.qkv\.weight",
            KEYS, flux_sizes, flux_layers, "lora_unet_", named_as_stored=True,
        ),
        "vae": vae("ae.safetensors", ("vae.", "first_stage_model.", "")),
    },
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    variants={"dev": DEV, "schnell": SCHNELL},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=_fits,
    patch=2,
)  # fmt: skip
