"""What several networks are made of, as diffusers builds it."""

from __future__ import annotations

from engine.memory.sketch import Sketch
from engine.memory.values import Value

SINUSOIDS = 256
"""Numbers that a noise level is told as to a transformer."""


def two_layers(sketch: Sketch, path: str, x: Value, outputs: int) -> Value:
    """The embedding of a number or a vector: linear_1, SiLU, linear_2."""
    return sketch.linear(f"{path}.linear_2", sketch.activation(sketch.linear(f"{path}.linear_1", x, outputs)), outputs)


def resnet(sketch: Sketch, path: str, x: Value, time: Value | None, outputs: int, groups: int) -> Value:
    """Residual block (`ResnetBlock2D`); `time` is one row per picture, None in a VAE."""
    hidden = sketch.norm(f"{path}.norm1", x, groups)
    hidden = sketch.activation(hidden)
    hidden = sketch.conv(f"{path}.conv1", hidden, outputs)
    if time is not None:
        shift = sketch.linear(f"{path}.time_emb_proj", sketch.activation(time), outputs)
        hidden = sketch.add(hidden, shift)
    hidden = sketch.norm(f"{path}.norm2", hidden, groups)
    hidden = sketch.activation(hidden)
    hidden = sketch.conv(f"{path}.conv2", hidden, outputs)
    if x.channels != outputs:
        x = sketch.conv(f"{path}.conv_shortcut", x, outputs, kernel=1)
    total = sketch.add(x, hidden)
    return sketch.add(total)  # divided by 1


def attention(sketch: Sketch, path: str, x: Value, context: Value | None, inner: int, heads: int, bias: bool = False) -> Value:
    """`Attention` with q from x, and k and v from `context` or x; the way out goes back to x's channels."""
    source = x if context is None else context
    shared = f"{path}/{'x' if context is None else 'context'}"
    q = sketch.linear(f"{path}.to_q", x, inner, bias, shared if context is None else "")
    k = sketch.linear(f"{path}.to_k", source, inner, bias, shared)
    v = sketch.linear(f"{path}.to_v", source, inner, bias, shared)
    return sketch.linear(f"{path}.to_out.0", sketch.attention(q, k, v, heads), x.channels)


def feed_forward(sketch: Sketch, path: str, x: Value, gated: bool) -> Value:
    """`FeedForward`, four times as wide inside: GEGLU where `gated`, else GELU."""
    inner = 4 * x.channels
    hidden = sketch.linear(f"{path}.net.0.proj", x, inner * (2 if gated else 1))
    if gated:
        hidden = sketch.multiply(hidden.part(channels=inner), sketch.activation(hidden.part(channels=inner)))
    else:
        hidden = sketch.activation(hidden)
    return sketch.linear(f"{path}.net.2", hidden, x.channels)


def modulation(sketch: Sketch, path: str, time: Value, channels: int, count: int) -> list[Value]:
    """Shifts, scales and gates for a block, of `channels` numbers each: one row per picture."""
    told = sketch.linear(f"{path}.linear", sketch.activation(time), count * channels)
    return [told.part(channels=channels) for _ in range(count)]


def modulate(sketch: Sketch, x: Value, scale: Value, shift: Value) -> Value:
    """x (1 + scale) + shift."""
    return sketch.add(sketch.multiply(x, sketch.add(scale)), shift)
