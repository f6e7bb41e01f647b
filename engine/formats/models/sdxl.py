"""SDXL (Podell et al. 2023) and its offspring: Pony, Illustrious, Animagine, NoobAI are the same architecture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from engine.formats.checkpoint_shapes import sdxl_unet_sizes
from engine.formats.layouts.open_clip import OpenClip, open_clip_sizes
from engine.formats.models.base import Habits, ModelFormat, Part, Shapes, Variant
from engine.formats.models.parts import agree, clip, inpaints, pair_agrees, unet, vae
from engine.formats.sd_layers import sd_layers

ARCHITECTURE = "stable-diffusion-xl-v1-base"
_HABITS = Habits(steps=28, guidance_scale=6.0, resolution=1024, clip_skip=0)
_V_HABITS = Habits(sampler="Euler", steps=28, guidance_scale=5.0, resolution=1024, clip_skip=0)

BASE = Variant("SDXL", "sdxl_base_v1-0", ARCHITECTURE, "sdxl", _HABITS)
V = Variant("SDXL v-prediction", "sdxl_base_v1-0", ARCHITECTURE, "sdxl", _V_HABITS, "v_prediction")
INPAINTING = Variant("SDXL inpainting", "sdxl_base_v1-0", ARCHITECTURE, "sdxl_inpainting", _HABITS)


def _variant(shapes: Shapes, metadata: Mapping[str, str]) -> str:
    if inpaints(shapes["input_blocks.0.0.weight"][1], shapes["out.2.weight"][0]):
        return "inpainting"
    return "v" if metadata.get("modelspec.prediction_type") in ("v", "v_prediction") else "base"


def _folder_variant(configs: Mapping[str, Mapping[str, Any]]) -> str:
    if inpaints(configs["unet"]["in_channels"], configs["unet"]["out_channels"]):
        return "inpainting"
    return "v" if configs["scheduler"].get("prediction_type") == "v_prediction" else "base"


def _fits(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    unet = configs["unet"]
    pooled = unet["projection_class_embeddings_input_dim"] - 6 * unet["addition_time_embed_dim"]
    return pair_agrees(configs, unet["cross_attention_dim"]) and agree(
        configs, ("text_encoder_2", "projection_dim", pooled), ("vae", "latent_channels", unet["out_channels"])
    )


SDXL = ModelFormat(
    title="SDXL",
    pipelines=("StableDiffusionXLPipeline", "StableDiffusionXLInpaintPipeline"),
    denoiser="unet",
    parts={
        "text_encoder": clip("CLIP-L text encoder", ("conditioner.embedders.0.transformer.",), "lora_te1_"),
        "text_encoder_2": Part(
            "OpenCLIP-bigG text encoder", "clip_projected", ("conditioner.embedders.1.model.",), r"ln_final\.weight",
            OpenClip("text_model."), open_clip_sizes, partial(sd_layers, "text_encoder"), "lora_te2_text_model_",
            file="clip_g.safetensors", alone=clip("OpenCLIP-bigG text encoder", ("",), "lora_te2_", projected=True),
        ),
        "unet": unet(named_as_stored=True, sizes=sdxl_unet_sizes),
        "vae": vae("sdxl_vae.safetensors"),
    },
    tokenizers={"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"},
    variants={"base": BASE, "v": V, "inpainting": INPAINTING},
    variant=_variant,
    folder_variant=_folder_variant,
    fits=_fits,
)  # fmt: skip
