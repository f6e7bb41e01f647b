"""Stable Diffusion 2.x: OpenCLIP's text encoder without its last block; 512 px predict noise, 768 px velocity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from engine.formats.checkpoint_shapes import sd2_unet_sizes
from engine.formats.layouts.open_clip import OpenClip, open_clip_sizes
from engine.formats.models.base import Habits, ModelFormat, Part, Shapes, Variant
from engine.formats.models.parts import agree_with_unet, inpaints, unet, vae
from engine.formats.sd_layers import sd_layers

BLOCKS = 23
"""Of OpenCLIP-H's 24: the model was trained on what the last but one gives (Kohya and diffusers count them so too)."""

BASE = Variant("Stable Diffusion 2.x 512", "sd_v2", "stable-diffusion-v2-512", "sd2")
V = Variant("Stable Diffusion 2.x 768 v", "sd_v2_v", "stable-diffusion-v2-768-v", "sd2_v", Habits(resolution=768), "v_prediction")
INPAINTING = Variant("Stable Diffusion 2.x inpainting", "sd_v2", "stable-diffusion-v2-512", "sd2_inpainting")


def _text_sizes(shapes: Shapes) -> dict[str, Any]:
    sizes = open_clip_sizes(shapes)
    return sizes | {"num_hidden_layers": min(BLOCKS, sizes["num_hidden_layers"])}


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    """The 768 px model unless the file says otherwise: most of what was trained from 2.x came from it."""
    if inpaints(shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]):
        return "inpainting"
    if said := metadata.get("modelspec.prediction_type"):
        return "base" if said == "epsilon" else "v"
    return "base" if metadata.get("modelspec.architecture", "").startswith(BASE.architecture) else "v"


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    if inpaints(configs["unet"]["in_channels"], configs["unet"]["out_channels"]):
        return "inpainting"
    return "v" if configs["scheduler"].get("prediction_type") == "v_prediction" else "base"


SD2 = ModelFormat(
    title="Stable Diffusion 2.x",
    pipelines=("StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    denoiser="unet",
    parts={
        "text_encoder": Part(
            "text encoder", "clip", ("cond_stage_model.model.",), r"ln_final\.weight", OpenClip(), _text_sizes,
            partial(sd_layers, "text_encoder"), "lora_te_text_model_", file="open_clip_pytorch_model.safetensors",
        ),
        "unet": unet(sizes=sd2_unet_sizes),
        "vae": vae("vae-ft-mse-840000-ema-pruned.safetensors"),
    },
    tokenizers={"text_encoder": "tokenizer"},
    variants={"base": BASE, "v": V, "inpainting": INPAINTING},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=agree_with_unet,
)  # fmt: skip
