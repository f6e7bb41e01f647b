"""The transformer of Z-Image: words and pictures refined apart, then in one row (S3-DiT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.memory.networks.pieces import SINUSOIDS
from engine.memory.sketch import Sketch
from engine.memory.values import Value

PATCH, MULTIPLE, TOLD = 2, 32, 256
"""Side of a token in latents; tokens are filled up to multiples of 32; numbers a block is told of the noise level."""


def z_image(sketch: Sketch, config: Mapping[str, Any], width: int, height: int, text: Value) -> Value:
    """Args:
    width, height: of the latents.
    """
    channels, latents = config["dim"], config["in_channels"] * PATCH**2
    hidden = sketch.linear(
        f"all_x_embedder.{PATCH}-1", sketch.given(_filled(sketch, width * height // PATCH**2), latents), channels
    )
    hidden = sketch.add(sketch.add(hidden), hidden)  # padding instead of what is missing, then pictures side by side
    time = sketch.linear("t_embedder.mlp.0", sketch.given(sketch.batch, SINUSOIDS), 1024)
    time = sketch.linear("t_embedder.mlp.2", sketch.activation(time), min(channels, TOLD))
    for index in range(config["n_refiner_layers"]):
        hidden = _block(sketch, f"noise_refiner.{index}", config, hidden, time)
    words = sketch.given(_filled(sketch, text.rows // sketch.batch), text.channels, text.learns)
    words = sketch.linear("cap_embedder.1", sketch.rms_norm("cap_embedder.0", words, copies=True), channels)
    sketch.table("pad_tokens", 2 * channels)
    for index in range(config["n_refiner_layers"]):
        words = _block(sketch, f"context_refiner.{index}", config, words, None)
    hidden = sketch.join(hidden, words)
    del words
    for index in range(config["n_layers"]):
        hidden = _block(sketch, f"layers.{index}", config, hidden, time)
    final = f"all_final_layer.{PATCH}-1"
    scale = sketch.linear(f"{final}.adaLN_modulation.1", sketch.activation(time), channels)
    hidden = sketch.multiply(sketch.norm(f"{final}.norm_final", hidden, weights=0), sketch.add(scale))
    return sketch.linear(f"{final}.linear", hidden, latents)


def _filled(sketch: Sketch, tokens: int) -> int:
    return sketch.batch * -(-tokens // MULTIPLE) * MULTIPLE


def _block(sketch: Sketch, path: str, config: Mapping[str, Any], x: Value, time: Value | None) -> Value:
    """`ZImageTransformerBlock`; without `time` it is not told of the noise level."""
    with sketch.block(path, x, *([time] if time else [])):
        told = [None] * 4 if time is None else _told(sketch, path, time, x.channels)
        hidden = _scaled(sketch, sketch.rms_norm(f"{path}.attention_norm1", x, copies=True), told[0])
        hidden = _attention(sketch, f"{path}.attention", hidden, config)
        hidden = _scaled(sketch, sketch.rms_norm(f"{path}.attention_norm2", hidden, copies=True), told[1])
        x = sketch.add(x, hidden)
        hidden = _scaled(sketch, sketch.rms_norm(f"{path}.ffn_norm1", x, copies=True), told[2])
        hidden = _feed(sketch, f"{path}.feed_forward", hidden)
        hidden = _scaled(sketch, sketch.rms_norm(f"{path}.ffn_norm2", hidden, copies=True), told[3])
        return sketch.add(x, hidden)


def _told(sketch: Sketch, path: str, time: Value, channels: int) -> list[Value]:
    """Scale and gate of the attention and of the feed-forward, one row per picture."""
    made = sketch.linear(f"{path}.adaLN_modulation.0", time, 4 * channels)
    part = made.part(channels=channels)
    return [sketch.add(part), sketch.activation(part), sketch.add(part), sketch.activation(part)]


def _scaled(sketch: Sketch, x: Value, by: Value | None) -> Value:
    return x if by is None else sketch.multiply(x, by)


def _attention(sketch: Sketch, path: str, x: Value, config: Mapping[str, Any]) -> Value:
    heads = config["n_heads"]
    q, k, v = (sketch.linear(f"{path}.to_{name}", x, x.channels, bias=False, shared=path) for name in "qkv")
    if config.get("qk_norm", True):
        q, k = (
            sketch.rms_norm(f"{path}.norm_{name}", value, copies=True, rows=x.rows * heads)
            for name, value in (("q", q), ("k", k))
        )
    mixed = sketch.attention(sketch.add(q), sketch.add(k), v, heads)  # turned by their positions
    return sketch.linear(f"{path}.to_out.0", mixed, x.channels, bias=False)


def _feed(sketch: Sketch, path: str, x: Value) -> Value:
    """SwiGLU."""
    inner = int(x.channels / 3 * 8)
    gate, up = (sketch.linear(f"{path}.{name}", x, inner, bias=False, shared=f"{path}/x") for name in ("w1", "w3"))
    return sketch.linear(f"{path}.w2", sketch.multiply(sketch.activation(gate), up), x.channels, bias=False)
