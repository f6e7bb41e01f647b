"""Stable Diffusion 1.x (Rombach et al. 2022) and what was trained from it; the starter is one too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.formats.models.base import ModelFormat, Shapes, Variant
from engine.formats.models.parts import agree_with_unet, clip, inpaints, unet, vae

BASE = Variant("Stable Diffusion 1.x", "sd_v1", "stable-diffusion-v1", "sd1")
INPAINTING = Variant("Stable Diffusion 1.x inpainting", "sd_v1", "stable-diffusion-v1", "sd1_inpainting")


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    return "inpainting" if inpaints(shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]) else "base"


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    return "inpainting" if inpaints(configs["unet"]["in_channels"], configs["unet"]["out_channels"]) else "base"


SD1 = ModelFormat(
    title="Stable Diffusion 1.x",
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    denoiser="unet",
    parts={
        "text_encoder": clip("text encoder", ("cond_stage_model.transformer.",), "lora_te_"),
        "unet": unet(),
        "vae": vae("vae-ft-mse-840000-ema-pruned.safetensors"),
    },
    tokenizers={"text_encoder": "tokenizer"},
    variants={"base": BASE, "inpainting": INPAINTING},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=agree_with_unet,
)
