"""Parts that several families have: the text encoders of CLIP and T5, the U-Net, the VAE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from engine.formats.checkpoint_shapes import clip_sizes, unet_sizes, vae_sizes
from engine.formats.layouts.clip import ClipKeys
from engine.formats.layouts.t5 import T5, t5_sizes
from engine.formats.layouts.unet import UNetKeys
from engine.formats.layouts.vae import VaeKeys
from engine.formats.models.base import Part, Shapes
from engine.formats.sd_layers import sd_layers
from engine.formats.t5_layers import t5_layers

CLIP_MARK = r"(text_model\.)?encoder\.layers\.0\.mlp\.fc1\.weight"


def clip(
    title: str, prefixes: tuple[str, ...], adapter_prefix: str, projected: bool = False, file: str = "clip_l.safetensors"
) -> Part:
    """A CLIP text encoder under transformers' names; `projected` has the projection of the pooled text too."""
    return Part(
        title, "clip_projected" if projected else "clip", prefixes, CLIP_MARK,
        ClipKeys("text_model." if projected else ""), clip_sizes,
        partial(sd_layers, "text_encoder"), f"{adapter_prefix}text_model_", file=file,
    )  # fmt: skip


def t5(prefixes: tuple[str, ...]) -> Part:
    """The T5-XXL encoder of SD3 and FLUX.1."""
    return Part(
        "T5 text encoder", "t5", prefixes, r"encoder\.block\.0\.layer\.0\.SelfAttention\.q\.weight", T5, t5_sizes,
        t5_layers, "lora_te3_", file="t5xxl_fp16.safetensors",
    )  # fmt: skip


def unet(
    prefixes: tuple[str, ...] = ("model.diffusion_model.", ""),
    named_as_stored: bool = False,
    sizes: Callable[[Shapes], dict[str, Any]] = unet_sizes,
) -> Part:
    return Part(
        "U-Net", "unet", prefixes, r"input_blocks\.0\.0\.weight", UNetKeys(), sizes,
        partial(sd_layers, "unet"), "lora_unet_", named_as_stored,
    )  # fmt: skip


def vae(file: str, prefixes: tuple[str, ...] = ("first_stage_model.", "vae.", "")) -> Part:
    return Part("VAE", "vae", prefixes, r"decoder\.conv_in\.weight", VaeKeys(), vae_sizes, file=file)


def agree(configs: Mapping[str, Mapping[str, Any]], *wanted: tuple[str, str, int]) -> bool:
    """Whether (part, entry of its config, number) hold, of the parts that are there."""
    return all(configs[part][entry] == number for part, entry, number in wanted if part in configs)


def agree_with_unet(configs: Mapping[str, Mapping[str, Any]]) -> bool:
    """`ModelFormat.fits` of a U-Net with one text encoder."""
    unet = configs["unet"]
    return agree(
        configs, ("vae", "latent_channels", unet["out_channels"]), ("text_encoder", "hidden_size", unet["cross_attention_dim"])
    )


def pair_agrees(configs: Mapping[str, Mapping[str, Any]], width: int) -> bool:
    """Whether CLIP-L, the narrower one, and OpenCLIP-bigG are together so wide."""
    widths = {name: configs[name]["hidden_size"] for name in ("text_encoder", "text_encoder_2") if name in configs}
    narrow, wide = widths.get("text_encoder", 0), widths.get("text_encoder_2", width)
    return 2 * narrow < width < 2 * wide and (len(widths) < 2 or narrow + wide == width)


def inpaints(in_channels: int, out_channels: int) -> bool:
    """Whether a U-Net is told a mask and the rest of the picture beside the noisy latents.

    Raises:
        ValueError: it is told something else.
    """
    if in_channels not in (out_channels, 2 * out_channels + 1):
        raise ValueError(f"the U-Net takes {in_channels} channels and gives {out_channels}")
    return in_channels != out_channels
