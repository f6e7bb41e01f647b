"""Where single files have the transformer of FLUX.1: under the names of Black Forest Labs.

There q, k and v are one matrix, in a single block with the way into the feed-forward too: 3 x width and 4 x width rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.config.layers import Size
from engine.formats.checkpoint_shapes import indices
from engine.formats.layouts.table import Line, Table


def _double_block() -> Iterator[Line]:
    own, file = "transformer_blocks.{}", "double_blocks.{}"
    streams = {
        "img": ("norm1", "ff", ("to_q", "to_k", "to_v"), "to_out.0", "norm"),
        "txt": ("norm1_context", "ff_context", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "norm_added"),
    }
    for stream, (modulation, feed_forward, projections, out, norm) in streams.items():
        yield Line(f"{own}.{modulation}.linear", f"{file}.{stream}_mod.lin")
        for part, projection in enumerate(projections):
            yield Line(f"{own}.attn.{projection}", f"{file}.{stream}_attn.qkv", (part, part + 1, 3))
        yield Line(f"{own}.attn.{norm}_q", f"{file}.{stream}_attn.norm.query_norm", leaf="scale")
        yield Line(f"{own}.attn.{norm}_k", f"{file}.{stream}_attn.norm.key_norm", leaf="scale")
        yield Line(f"{own}.attn.{out}", f"{file}.{stream}_attn.proj")
        yield Line(f"{own}.{feed_forward}.net.0.proj", f"{file}.{stream}_mlp.0")
        yield Line(f"{own}.{feed_forward}.net.2", f"{file}.{stream}_mlp.2")


def _single_block() -> Iterator[Line]:
    own, file = "single_transformer_blocks.{}", "single_blocks.{}"
    yield Line(f"{own}.norm.linear", f"{file}.modulation.lin")
    for part, projection in enumerate(("attn.to_q", "attn.to_k", "attn.to_v")):
        yield Line(f"{own}.{projection}", f"{file}.linear1", (part, part + 1, 7))
    yield Line(f"{own}.proj_mlp", f"{file}.linear1", (3, 7, 7))
    yield Line(f"{own}.attn.norm_q", f"{file}.norm.query_norm", leaf="scale")
    yield Line(f"{own}.attn.norm_k", f"{file}.norm.key_norm", leaf="scale")
    yield Line(f"{own}.proj_out", f"{file}.linear2")


def _embedding(own: str, file: str) -> Iterator[Line]:
    yield Line(f"time_text_embed.{own}.linear_1", f"{file}.in_layer")
    yield Line(f"time_text_embed.{own}.linear_2", f"{file}.out_layer")


FLUX = Table(
    (
        Line("x_embedder", "img_in"),
        Line("context_embedder", "txt_in"),
        *_embedding("timestep_embedder", "time_in"),
        *_embedding("text_embedder", "vector_in"),
        *_embedding("guidance_embedder", "guidance_in"),
        *_double_block(),
        *_single_block(),
        # BFL computes shift, then scale; diffusers the other way round.
        Line("norm_out.linear", "final_layer.adaLN_modulation.1", change="swapped"),
        Line("proj_out", "final_layer.linear"),
    )
)
"""The `KeyMap`."""


def flux_sizes(shapes: Mapping[str, Size]) -> dict[str, Any]:
    """What the shapes of a file show of a FluxTransformer2DModel's config.

    Positions have three axes, of which height and width count in pictures; they share a head's width as in the published
    models, 2 : 7 : 7.

    Raises:
        KeyError: no transformer of FLUX.1.
    """
    width, channels = shapes["img_in.weight"]
    (head,) = shapes["double_blocks.0.img_attn.norm.query_norm.scale"]
    return {
        "in_channels": channels,
        "num_layers": len(indices(shapes, r"double_blocks\.(\d+)\.")),
        "num_single_layers": len(indices(shapes, r"single_blocks\.(\d+)\.")),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": shapes["txt_in.weight"][1],
        "pooled_projection_dim": shapes["vector_in.in_layer.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in shapes,
        "axes_dims_rope": [head // 8, 7 * head // 16, 7 * head // 16],
    }
