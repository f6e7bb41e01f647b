"""The transformer of Stable Diffusion 3 and 3.5: pictures and words side by side (MMDiT, Esser et al. 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.memory.networks.pieces import SINUSOIDS, attention, feed_forward, modulate, modulation, two_layers
from engine.memory.sketch import Sketch
from engine.memory.values import Value


def sd3(sketch: Sketch, config: Mapping[str, Any], width: int, height: int, text: Value) -> Value:
    """Args:
    width, height: of the latents.
    """
    patch, heads = config.get("patch_size", 2), config["num_attention_heads"]
    channels, tokens = heads * config["attention_head_dim"], sketch.batch * (width // patch) * (height // patch)
    hidden = _patches(sketch, config, tokens, channels, patch)
    time = two_layers(sketch, "time_text_embed.timestep_embedder", sketch.given(sketch.batch, SINUSOIDS), channels)
    pooled = sketch.given(sketch.batch, config["pooled_projection_dim"])
    time = sketch.add(time, two_layers(sketch, "time_text_embed.text_embedder", pooled, channels))
    context = sketch.linear("context_embedder", text, config.get("caption_projection_dim", channels))
    for index in range(config["num_layers"]):
        path, last = f"transformer_blocks.{index}", index == config["num_layers"] - 1
        dual = index in (config.get("dual_attention_layers") or ())
        with sketch.block(path, hidden, context, time):
            hidden, context = _block(sketch, path, hidden, context, time, heads, dual, last, bool(config.get("qk_norm")))
    scale, shift = modulation(sketch, "norm_out", time, channels, 2)
    hidden = modulate(sketch, sketch.norm("norm_out.norm", hidden, weights=0), scale, shift)
    return sketch.linear("proj_out", hidden, patch**2 * config.get("out_channels", 16))


def _patches(sketch: Sketch, config: Mapping[str, Any], tokens: int, channels: int, patch: int) -> Value:
    sketch.table("pos_embed", config.get("pos_embed_max_size", 96) ** 2 * channels)
    latents = sketch.given(tokens * patch**2, config.get("in_channels", 16))
    return sketch.add(sketch.conv("pos_embed.proj", latents, channels, patch, rows=tokens))


def _block(
    sketch: Sketch, path: str, x: Value, context: Value, time: Value, heads: int, dual: bool, last: bool, normed: bool
) -> tuple[Value, Value]:
    """`JointTransformerBlock`; the last one has no words any more. `dual`: pictures attend among themselves as well."""
    channels = x.channels
    told = modulation(sketch, f"{path}.norm1", time, channels, 9 if dual else 6)
    even = sketch.norm(f"{path}.norm1.norm", x, weights=0)
    mine, own = modulate(sketch, even, told[1], told[0]), modulate(sketch, even, told[7], told[6]) if dual else None
    words_told = modulation(sketch, f"{path}.norm1_context", time, channels, 2 if last else 6)
    even = sketch.norm(f"{path}.norm1_context.norm", context, weights=0)
    words = modulate(sketch, even, words_told[1], words_told[0])
    del even
    mixed, words = _joint(sketch, f"{path}.attn", mine, words, heads, last, normed)
    x = sketch.add(x, sketch.multiply(mixed, told[2]))
    if own is not None:
        mixed = _attention(sketch, f"{path}.attn2", own, heads, normed)
        x = sketch.add(x, sketch.multiply(mixed, told[8]))
    x = _feed(sketch, f"{path}.norm2", f"{path}.ff", x, told[3:6])
    if not last:
        context = sketch.add(context, sketch.multiply(words, words_told[2]))
        context = _feed(sketch, f"{path}.norm2_context", f"{path}.ff_context", context, words_told[3:6])
    return x, context


def _feed(sketch: Sketch, norm: str, path: str, x: Value, told: list[Value]) -> Value:
    shift, scale, gate = told
    hidden = modulate(sketch, sketch.norm(norm, x, weights=0), scale, shift)
    return sketch.add(x, sketch.multiply(feed_forward(sketch, path, hidden, gated=False), gate))


def _projections(
    sketch: Sketch, path: str, names: tuple[str, str, str], norms: tuple[str, str], x: Value, heads: int
) -> list[Value]:
    """q, k and v of x; q and k normed head by head where `norms` names how."""
    made = [sketch.linear(f"{path}.{name}", x, x.channels, shared=f"{path}/{names[0]}") for name in names]
    for index, norm in enumerate(norms):
        made[index] = sketch.rms_norm(f"{path}.{norm}", made[index], copies=True, rows=x.rows * heads)
    return made


def _attention(sketch: Sketch, path: str, x: Value, heads: int, normed: bool) -> Value:
    if not normed:
        return attention(sketch, path, x, None, x.channels, heads, bias=True)
    q, k, v = _projections(sketch, path, ("to_q", "to_k", "to_v"), ("norm_q", "norm_k"), x, heads)
    return sketch.linear(f"{path}.to_out.0", sketch.attention(q, k, v, heads), x.channels)


def _joint(sketch: Sketch, path: str, x: Value, words: Value, heads: int, last: bool, normed: bool) -> tuple[Value, Value]:
    """Attention over pictures and words together."""
    norms = ("norm_q", "norm_k") if normed else ()
    mine = _projections(sketch, path, ("to_q", "to_k", "to_v"), norms, x, heads)  # type: ignore[arg-type]
    added = tuple(f"norm_added_{name[-1]}" for name in norms)
    theirs = _projections(sketch, path, ("add_q_proj", "add_k_proj", "add_v_proj"), added, words, heads)  # type: ignore[arg-type]
    q, k, v = (sketch.join(*pair) for pair in zip(mine, theirs, strict=True))
    del mine, theirs
    mixed = sketch.add(sketch.attention(q, k, v, heads))  # head by head, as q is, and put together again
    if not last:
        words = sketch.linear(f"{path}.to_add_out", mixed.part(words.rows), x.channels)
    return sketch.linear(f"{path}.to_out.0", mixed.part(x.rows), x.channels), words
