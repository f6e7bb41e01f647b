"""The transformer of Stable Diffusion 3 and 3.5 in Stability AI's layout.

A joint block has two streams, the picture (`x_block`) and the text (`context_block`), that meet in attention. diffusers keeps
the order of all modulation rows (six, or nine where the picture attends a second time) but in the two places that have only a
shift and a scale, which it has the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import isqrt
from typing import Any

from engine.config.layers import Size
from engine.formats.checkpoint_shapes import indices
from engine.formats.layouts.stored import Place
from engine.formats.layouts.table import Line, Table

OWN, STORED = "transformer_blocks.{}", "joint_blocks.{}"
PICTURE, TEXT = f"{STORED}.x_block", f"{STORED}.context_block"


HEAD_WIDTH = 64
"""Of all published models; those with normalised queries show it."""


def _joined(attention: str, names: tuple[str, str, str], stored: str) -> list[Line]:
    """Queries, keys and values, which the file has as one matrix."""
    return [Line(f"{OWN}.{attention}.{name}", f"{stored}.qkv", share=(row, row + 1, 3)) for row, name in enumerate(names)]


_LINES = Table(
    [
        Line("pos_embed.pos_embed", "pos_embed"),
        Line("pos_embed.proj", "x_embedder.proj"),
        Line("context_embedder", "context_embedder"),
        Line("time_text_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"),
        Line("time_text_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"),
        Line("time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"),
        Line("time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"),
        Line("norm_out.linear", "final_layer.adaLN_modulation.1", change="swapped"),
        Line("proj_out", "final_layer.linear"),
        *_joined("attn", ("to_q", "to_k", "to_v"), f"{PICTURE}.attn"),
        *_joined("attn", ("add_q_proj", "add_k_proj", "add_v_proj"), f"{TEXT}.attn"),
        *_joined("attn2", ("to_q", "to_k", "to_v"), f"{PICTURE}.attn2"),
        Line(f"{OWN}.attn.to_out.0", f"{PICTURE}.attn.proj"),
        Line(f"{OWN}.attn.to_add_out", f"{TEXT}.attn.proj"),
        Line(f"{OWN}.attn2.to_out.0", f"{PICTURE}.attn2.proj"),
        Line(f"{OWN}.attn.norm_q", f"{PICTURE}.attn.ln_q"),
        Line(f"{OWN}.attn.norm_k", f"{PICTURE}.attn.ln_k"),
        Line(f"{OWN}.attn.norm_added_q", f"{TEXT}.attn.ln_q"),
        Line(f"{OWN}.attn.norm_added_k", f"{TEXT}.attn.ln_k"),
        Line(f"{OWN}.attn2.norm_q", f"{PICTURE}.attn2.ln_q"),
        Line(f"{OWN}.attn2.norm_k", f"{PICTURE}.attn2.ln_k"),
        Line(f"{OWN}.ff.net.0.proj", f"{PICTURE}.mlp.fc1"),
        Line(f"{OWN}.ff.net.2", f"{PICTURE}.mlp.fc2"),
        Line(f"{OWN}.ff_context.net.0.proj", f"{TEXT}.mlp.fc1"),
        Line(f"{OWN}.ff_context.net.2", f"{TEXT}.mlp.fc2"),
        Line(f"{OWN}.norm1.linear", f"{PICTURE}.adaLN_modulation.1"),
        Line(f"{OWN}.norm1_context.linear", f"{TEXT}.adaLN_modulation.1"),
    ]
)


class Sd3Keys:
    """A `KeyMap`; the config's `num_layers` tells the last block, whose text goes no further and is only shifted and scaled."""

    lines = _LINES.lines

    def places(self, keys: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return _last_swapped(_LINES.places(keys, config), config)

    def find(self, stored: Iterable[str], config: Mapping[str, Any]) -> dict[str, Place]:
        return _last_swapped(_LINES.find(stored, config), config)


def _last_swapped(found: dict[str, Place], config: Mapping[str, Any]) -> dict[str, Place]:
    last = f"{OWN.format(config['num_layers'] - 1)}.norm1_context.linear."
    return {key: replace(place, change="swapped") if key.startswith(last) else place for key, place in found.items()}


def sd3_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of an SD3Transformer2DModel's config.

    Raises:
        KeyError: no transformer of Stable Diffusion 3.
    """
    width, channels, patch, _ = shapes["x_embedder.proj.weight"]
    normalised = shapes.get("joint_blocks.0.x_block.attn.ln_q.weight")
    head = normalised[0] if normalised else HEAD_WIDTH
    caption_width, text_width = shapes["context_embedder.weight"]
    return {
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": shapes["final_layer.linear.weight"][0] // patch**2,
        "num_layers": len(indices(shapes, r"joint_blocks\.(\d+)\.")),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": text_width,
        "caption_projection_dim": caption_width,
        "pooled_projection_dim": shapes["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": isqrt(shapes["pos_embed"][1]),
        "dual_attention_layers": indices(shapes, r"joint_blocks\.(\d+)\.x_block\.attn2\."),
        "qk_norm": "rms_norm" if normalised else None,
    }
