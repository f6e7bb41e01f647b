"""The sizes of a Stable Diffusion 1.x checkpoint, read off the shapes of its tensors.

What shapes cannot tell (number of attention heads, normalisation groups, activation) comes from a config. Works on the
header alone, without torch, for any number of levels and any width.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from engine.formats.safetensors_header import Header

UNET, VAE, TEXT_ENCODER = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
PREFIXES = {"unet": UNET, "vae": VAE, "text_encoder": TEXT_ENCODER}
CLIP_HEAD_WIDTH = 64
"""Every CLIP text encoder has heads of this width; a narrower one has a single head."""

Shapes = dict[str, tuple[int, ...]]


def component_shapes(header: Header, component: str) -> Shapes:
    """LDM name without the component's prefix -> shape. The text encoder's optional `text_model` level is dropped."""
    prefix = PREFIXES[component]
    shapes = {key.removeprefix(prefix): info.shape for key, info in header.tensors.items() if key.startswith(prefix)}
    return {key.removeprefix("text_model."): shape for key, shape in shapes.items()} if component == "text_encoder" else shapes


def architecture_from_header(header: Header) -> dict[str, dict[str, object]]:
    """Config overrides for "unet", "vae" and "text_encoder"; a component that the file lacks is left out.

    Raises:
        KeyError: a component is there in part only, or in another layout.
    """
    readers: dict[str, Callable[[Shapes], dict[str, object]]] = {"unet": _unet, "vae": _vae, "text_encoder": _text_encoder}
    found = {component: component_shapes(header, component) for component in readers}
    return {component: readers[component](shapes) for component, shapes in found.items() if shapes}


def _indices(shapes: Shapes, pattern: str) -> list[int]:
    return sorted({int(found[1]) for key in shapes if (found := re.match(pattern, key))})


def _unet(shapes: Shapes) -> dict[str, object]:
    downsamplers = _indices(shapes, r"input_blocks\.(\d+)\.0\.op\.weight")
    per_level = downsamplers[0] if downsamplers else len(_indices(shapes, r"input_blocks\.(\d+)\."))
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


def _vae(shapes: Shapes) -> dict[str, object]:
    levels = _indices(shapes, r"encoder\.down\.(\d+)\.block\.0\.conv1\.weight")
    layers = _indices(shapes, r"encoder\.down\.0\.block\.(\d+)\.conv1\.weight")
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels],
        "layers_per_block": len(layers),
        "down_block_types": ["DownEncoderBlock2D" for _ in levels],
        "up_block_types": ["UpDecoderBlock2D" for _ in levels],
    }


def _text_encoder(shapes: Shapes) -> dict[str, object]:
    vocabulary, width = shapes["embeddings.token_embedding.weight"]
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "projection_dim": width,
        "num_attention_heads": max(1, width // CLIP_HEAD_WIDTH),
        "intermediate_size": shapes["encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(_indices(shapes, r"encoder\.layers\.(\d+)\.")),
        "max_position_embeddings": shapes["embeddings.position_embedding.weight"][0],
    }


def prediction_type_from_header(header: Header) -> str | None:
    """`v_prediction` or `epsilon` where the file says so: by its model card, or by the marker tensor `v_pred`."""
    said = header.metadata.get("modelspec.prediction_type", "")
    if said in ("v", "v_prediction") or "v_pred" in header.tensors:
        return "v_prediction"
    return "epsilon" if said == "epsilon" else None


def resolution_from_header(header: Header) -> int | None:
    """Side in px of the square the model was made for, where its card says so (`modelspec.resolution`, "512x512")."""
    found = re.fullmatch(r"(\d{2,4})x(\d{2,4})", header.metadata.get("modelspec.resolution", ""))
    return round((int(found[1]) * int(found[2])) ** 0.5) if found else None
