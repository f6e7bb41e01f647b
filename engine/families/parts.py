"""Which class of diffusers or transformers each kind of network is, and building one without weights."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

PART_CLASSES: dict[str, tuple[str, str]] = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "sd3": ("diffusers", "SD3Transformer2DModel"),
    "flux": ("diffusers", "FluxTransformer2DModel"),
    "z_image": ("diffusers", "ZImageTransformer2DModel"),
    "clip": ("transformers", "CLIPTextModel"),
    "clip_projected": ("transformers", "CLIPTextModelWithProjection"),
    "t5": ("transformers", "T5EncoderModel"),
    "qwen3": ("transformers", "Qwen3Model"),
}
"""`Part.kind` -> (module, class)."""


def part_class(kind: str) -> Any:
    module, name = PART_CLASSES[kind]
    return getattr(import_module(module), name)


def build_empty(kind: str, config: Mapping[str, Any]) -> Any:
    """A network without weights: parameters on the meta device, buffers real but for those that files have anyway.

    Raises:
        ValueError: the sizes do not fit each other.
    """
    import torch
    from accelerate import init_empty_weights

    made = part_class(kind)
    # SD3's only buffer is one of them; to calculate it takes 3 GB in 3.5 medium
    with torch.device("meta") if kind == "sd3" else init_empty_weights(include_buffers=False):
        if PART_CLASSES[kind][0] == "transformers":
            return made(made.config_class(**config))
        return made.from_config(dict(config))


def save_config(network: Any, folder: Path) -> None:
    """Write a network's config into its folder of a diffusers model."""
    if hasattr(network, "save_config"):
        network.save_config(folder)
    else:
        network.config.architectures = [type(network).__name__]
        network.config.save_pretrained(folder)
