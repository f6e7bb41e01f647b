"""Z-Image (Tongyi-MAI 2025): one stream of text and picture through 30 blocks, 6.15 billion numbers, open under Apache-2.0.

Qwen3 reads the prompt, the VAE is FLUX.1's. The Turbo variant is distilled: 8 steps, no guidance, no negative prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.formats.layouts.qwen3 import QWEN3, qwen3_sizes
from engine.formats.layouts.z_image import Z_IMAGE as KEYS
from engine.formats.layouts.z_image import z_image_sizes
from engine.formats.models.base import Habits, ModelFormat, Part, Shapes, Variant
from engine.formats.models.parts import agree, vae
from engine.formats.z_image_layers import z_image_layers

TURBO = Variant(
    "Z-Image Turbo", "z_image", "z-image-turbo", "z_image",
    Habits("Euler", steps=8, guidance_scale=1.0, resolution=1024, clip_skip=0, text_length=512), "flow",
)  # fmt: skip
BASE = Variant(
    "Z-Image", "z_image", "z-image", "z_image_base",
    # The model card's 4: its pipeline adds the difference to the guided side, which counts one less.
    Habits("Euler", steps=28, guidance_scale=5.0, resolution=1024, clip_skip=0, text_length=512), "flow",
)  # fmt: skip
TURBO_SHIFT = 3.0
"""How far the schedule is shifted to noise; the base model's is 6."""


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    """Weights do not show it; the model card of the file may. Without one it is taken for the Turbo, the more used."""
    card = (metadata.get("modelspec.architecture") or metadata.get("modelspec.title", "")).lower().replace("_", "-")
    return "base" if "z-image" in card and "turbo" not in card else "turbo"


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    return "base" if configs["scheduler"].get("shift", TURBO_SHIFT) > TURBO_SHIFT else "turbo"


def _fits(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    transformer = configs["transformer"]
    return agree(
        configs,
        ("text_encoder", "hidden_size", transformer["cap_feat_dim"]),
        ("vae", "latent_channels", transformer["in_channels"]),
    )


Z_IMAGE = ModelFormat(
    title="Z-Image",
    pipelines=("ZImagePipeline",),
    denoiser="transformer",
    parts={
        "text_encoder": Part(
            "text encoder (Qwen3)", "qwen3", ("text_encoders.qwen3_4b.transformer.model.", "model.", ""),
            r"layers\.0\.self_attn\.q_norm\.weight", QWEN3, qwen3_sizes, file="qwen_3_4b.safetensors",
        ),
        "transformer": Part(
            "transformer", "z_image", ("model.diffusion_model.", "diffusion_model.", ""),
            r"layers\.0\.adaLN_modulation\.0\.weight", KEYS, z_image_sizes, z_image_layers, "lora_unet_",
            dotted_prefix="diffusion_model.",
        ),
        "vae": vae("ae.safetensors", ("vae.", "first_stage_model.", "")),
    },
    tokenizers={"text_encoder": "tokenizer"},
    variants={"turbo": TURBO, "base": BASE},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=_fits,
    patch=2,
)  # fmt: skip
