"""The transformer of FLUX.1: 19 blocks with words and pictures side by side, 38 with both in one row, in the published size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.memory.networks.pieces import SINUSOIDS, feed_forward, modulate, modulation, two_layers
from engine.memory.sketch import Sketch
from engine.memory.values import Value

PACKED = 2
"""Side in latents of what is one token."""


def flux(sketch: Sketch, config: Mapping[str, Any], width: int, height: int, text: Value) -> Value:
    """Args:
    width, height: of the latents, before they are packed two by two.
    """
    heads = config["num_attention_heads"]
    channels, tokens = heads * config["attention_head_dim"], sketch.batch * (width // PACKED) * (height // PACKED)
    hidden = sketch.linear("x_embedder", sketch.given(tokens, config["in_channels"]), channels)
    time = _time(sketch, config, channels)
    context = sketch.linear("context_embedder", text, channels)
    for index in range(config["num_layers"]):
        path = f"transformer_blocks.{index}"
        with sketch.block(path, hidden, context, time):
            hidden, context = _double(sketch, path, hidden, context, time, heads)
    for index in range(config["num_single_layers"]):
        path = f"single_transformer_blocks.{index}"
        with sketch.block(path, hidden, context, time):
            both = _single(sketch, path, sketch.join(context, hidden), time, heads)
            hidden, context = both.part(hidden.rows), both.part(context.rows)
            del both
    scale, shift = modulation(sketch, "norm_out", time, channels, 2)
    hidden = modulate(sketch, sketch.norm("norm_out.norm", hidden, weights=0), scale, shift)
    return sketch.linear("proj_out", hidden, config.get("out_channels") or config["in_channels"])


def _time(sketch: Sketch, config: Mapping[str, Any], channels: int) -> Value:
    """The noise level, the guidance where the model is told of it, and the pooled text: one row per picture."""
    told = [two_layers(sketch, "time_text_embed.timestep_embedder", sketch.given(sketch.batch, SINUSOIDS), channels)]
    if config.get("guidance_embeds"):
        told.append(two_layers(sketch, "time_text_embed.guidance_embedder", sketch.given(sketch.batch, SINUSOIDS), channels))
    pooled = sketch.given(sketch.batch, config["pooled_projection_dim"])
    return sketch.add(*told, two_layers(sketch, "time_text_embed.text_embedder", pooled, channels))


def _double(sketch: Sketch, path: str, x: Value, context: Value, time: Value, heads: int) -> tuple[Value, Value]:
    """`FluxTransformerBlock`."""
    mine, theirs = (modulation(sketch, f"{path}.{name}", time, x.channels, 6) for name in ("norm1", "norm1_context"))
    hidden = modulate(sketch, sketch.norm(f"{path}.norm1.norm", x, weights=0), mine[1], mine[0])
    words = modulate(sketch, sketch.norm(f"{path}.norm1_context.norm", context, weights=0), theirs[1], theirs[0])
    names = ("add_q_proj", "add_k_proj", "add_v_proj"), ("norm_added_q", "norm_added_k")
    made = _projections(sketch, f"{path}.attn", *names, words, heads)
    own = _projections(sketch, f"{path}.attn", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), hidden, heads)
    joined = [sketch.join(*pair) for pair in zip(made, own, strict=True)]
    del made, own
    mixed = _attend(sketch, joined, heads)
    hidden = sketch.linear(f"{path}.attn.to_out.0", sketch.made(x.rows, x.channels, mixed), x.channels)
    words = sketch.linear(f"{path}.attn.to_add_out", sketch.made(context.rows, x.channels, mixed), x.channels)
    del mixed, joined
    x = sketch.add(x, sketch.multiply(hidden, mine[2]))
    x = _feed(sketch, f"{path}.norm2", f"{path}.ff", x, mine[3:])
    context = sketch.add(context, sketch.multiply(words, theirs[2]))
    return x, _feed(sketch, f"{path}.norm2_context", f"{path}.ff_context", context, theirs[3:])


def _single(sketch: Sketch, path: str, x: Value, time: Value, heads: int) -> Value:
    """`FluxSingleTransformerBlock`: attention and feed-forward of the same input, one way out for both."""
    shift, scale, gate = modulation(sketch, f"{path}.norm", time, x.channels, 3)
    hidden = modulate(sketch, sketch.norm(f"{path}.norm.norm", x, weights=0), scale, shift)
    inner = sketch.activation(sketch.linear(f"{path}.proj_mlp", hidden, 4 * x.channels, shared=f"{path}.attn/to_q"))
    made = _projections(sketch, f"{path}.attn", ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), hidden, heads)
    mixed = sketch.join_channels(_attend(sketch, made, heads), inner)
    return sketch.add(x, sketch.multiply(sketch.linear(f"{path}.proj_out", mixed, x.channels), gate))


def _projections(
    sketch: Sketch, path: str, names: tuple[str, str, str], norms: tuple[str, str], x: Value, heads: int
) -> list[Value]:
    """q, k and v of x; q and k normed head by head."""
    made = [sketch.linear(f"{path}.{name}", x, x.channels, shared=f"{path}/{names[0]}") for name in names]
    for index, norm in enumerate(norms):
        made[index] = sketch.rms_norm(f"{path}.{norm}", made[index], back=False, rows=x.rows * heads)
    return made


def _attend(sketch: Sketch, made: list[Value], heads: int) -> Value:
    """Attention over turned q and k (rotary positions), given back in q's format."""
    q, k = (sketch.add(value) for value in made[:2])
    mixed = sketch.attention(q, k, made[2], heads)
    return mixed if mixed.width == q.width else sketch.given(mixed.rows, mixed.channels, mixed.learns, q.width)


def _feed(sketch: Sketch, norm: str, path: str, x: Value, told: list[Value]) -> Value:
    shift, scale, gate = told
    hidden = modulate(sketch, sketch.norm(norm, x, weights=0), scale, shift)
    return sketch.add(x, sketch.multiply(feed_forward(sketch, path, hidden, gated=False), gate))
