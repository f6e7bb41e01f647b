"""The sizes of networks, read off the shapes of their tensors in a single file.

What shapes cannot tell (number of attention heads, normalisation groups, activation) comes from a config. Works on the
header alone, without torch, for any number of levels and any width. All raise KeyError, IndexError or ValueError for shapes
that fit no such network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from engine.config.layers import Size
from engine.formats.safetensors_header import Header

CLIP_HEAD_WIDTH = 64
"""Every CLIP text encoder has heads of this width; a narrower one has a single head."""

UNET_HEAD_WIDTH = 64
"""The same of the U-Nets of Stable Diffusion 2.x and SDXL."""

Shapes = Mapping[str, Size]


def indices(shapes: Shapes, pattern: str) -> list[int]:
    return sorted({int(found[1]) for key in shapes if (found := re.match(pattern, key))})


def unet_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config overrides of a UNet2DConditionModel."""
    downsamplers = indices(shapes, r"input_blocks\.(\d+)\.0\.op\.weight")
    per_level = downsamplers[0] if downsamplers else len(indices(shapes, r"input_blocks\.(\d+)\."))
    levels = range(len(downsamplers) + 1)
    down_attends = [f"input_blocks.{per_level * level + 1}.1.proj_in.weight" in shapes for level in levels]
    up_attends = [f"output_blocks.{per_level * level}.1.proj_in.weight" in shapes for level in levels]
    middle = "middle_block.1."
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "out_channels": shapes["out.2.weight"][0],
        "block_out_channels": [shapes[f"input_blocks.{per_level * level + 1}.0.out_layers.3.weight"][0] for level in levels],
        "layers_per_block": per_level - 1,
        "down_block_types": ["CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in down_attends],
        "up_block_types": ["CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in up_attends],
        "cross_attention_dim": shapes[middle + "transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": len(shapes[middle + "proj_in.weight"]) == 2,
    }


def sd2_unet_sizes(shapes: Shapes) -> dict[str, Any]:
    """The same of Stable Diffusion 2.x and SDXL, whose attention heads are all of one width."""
    sizes = unet_sizes(shapes)
    return sizes | {"attention_head_dim": [max(1, width // UNET_HEAD_WIDTH) for width in sizes["block_out_channels"]]}


def sdxl_unet_sizes(shapes: Shapes) -> dict[str, Any]:
    """The same of SDXL: how many transformer blocks follow each other, and what it is told beside the words."""
    sizes = sd2_unet_sizes(shapes)
    firsts = [(sizes["layers_per_block"] + 1) * level + 1 for level in range(len(sizes["block_out_channels"]))]
    blocks = [indices(shapes, rf"input_blocks\.{first}\.1\.transformer_blocks\.(\d+)\.") for first in firsts]
    return sizes | {
        "transformer_layers_per_block": [len(found) or 1 for found in blocks],
        "projection_class_embeddings_input_dim": shapes["label_emb.0.0.weight"][1],
    }


def vae_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config overrides of an AutoencoderKL."""
    levels = indices(shapes, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight")
    layers = indices(shapes, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels],
        "layers_per_block": len(layers),
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "up_block_types": ["UpDecoderBlock2D" for _ in levels],
    }


def clip_sizes(shapes: Shapes) -> dict[str, Any]:
    """Config overrides of a CLIP text encoder, whose keys may have the `text_model` level."""
    shapes = {key.removeprefix("text_model."): shape for key, shape in shapes.items()}
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(indices(shapes, r"encoder\.layers\.(\d+)\.")),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
    }


def prediction_from_header(header: Header) -> Literal["epsilon", "v_prediction"] | None:
    """`v_prediction` or `epsilon` where the file says so: by its model card, or by the marker tensor `v_pred`."""
    said = header.metadata.get("modelspec.prediction_type", "")
    if said in ("v", "v_prediction") or "v_pred" in header.tensors:
        return "v_prediction"
    return "epsilon" if said == "epsilon" else None


def zero_terminal_snr(header: Header) -> bool:
    """Whether the last noise level was trained as pure noise (Lin et al. 2024): the marker tensor `ztsnr` says so."""
    return "ztsnr" in header.tensors


def resolution_from_header(header: Header) -> int | None:
    """Side in px of the square the model was made for, where its card says so (`modelspec.resolution`, "512x512")."""
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", header.metadata.get("modelspec.resolution", ""))
    return round((int(found[1]) * int(found[2])) ** 0.5) if found else None
