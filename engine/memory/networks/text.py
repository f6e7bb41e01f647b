"""Text encoders: CLIP, T5 and Qwen3, as transformers builds them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.memory.sketch import Sketch
from engine.memory.values import Value

Config = Mapping[str, Any]


def clip(sketch: Sketch, config: Config, tokens: int, prefix: str = "") -> Value:
    """CLIP's text encoder. Args:
    tokens: of one text.
    """
    channels, heads = config["hidden_size"], config["num_attention_heads"]
    sketch.table(f"{prefix}embeddings.token_embedding", config["vocab_size"] * channels)
    sketch.table(f"{prefix}embeddings.position_embedding", config["max_position_embeddings"] * channels)
    x = sketch.given(sketch.batch * tokens, channels)
    for index in range(config["num_hidden_layers"]):
        path = f"{prefix}encoder.layers.{index}"
        with sketch.block(path, x):
            hidden = sketch.norm(f"{path}.layer_norm1", x)
            q, k, v = (sketch.linear(f"{path}.self_attn.{name}_proj", hidden, channels, shared=path) for name in "qkv")
            x = sketch.add(x, sketch.linear(f"{path}.self_attn.out_proj", sketch.attention(q, k, v, heads), channels))
            hidden = sketch.linear(f"{path}.mlp.fc1", sketch.norm(f"{path}.layer_norm2", x), config["intermediate_size"])
            quick = config.get("hidden_act", "quick_gelu") == "quick_gelu"
            hidden = sketch.multiply(hidden, sketch.activation(hidden)) if quick else sketch.activation(hidden)
            x = sketch.add(x, sketch.linear(f"{path}.mlp.fc2", hidden, channels))
    return sketch.norm(f"{prefix}final_layer_norm", x)


def clip_projected(sketch: Sketch, config: Config, tokens: int) -> Value:
    """CLIP with the projection of the pooled text."""
    x = clip(sketch, config, tokens, "text_model.")
    sketch.linear(
        "text_projection", sketch.given(sketch.batch, x.channels, x.learns, x.width), config["projection_dim"], bias=False
    )
    return x


def t5(sketch: Sketch, config: Config, tokens: int) -> Value:
    """T5's encoder. What its scores are shifted by for relative positions is held for all heads and pairs of tokens."""
    channels, heads, inner = config["d_model"], config["num_heads"], config["num_heads"] * config["d_kv"]
    sketch.table("shared", config["vocab_size"] * channels)
    sketch.table("relative_attention_bias", config.get("relative_attention_num_buckets", 32) * heads)
    shift = sketch.given(heads * tokens, tokens)
    x = sketch.given(sketch.batch * tokens, channels)
    for index in range(config["num_layers"]):
        path = f"encoder.block.{index}"
        with sketch.block(path, x):
            own, feed = f"{path}.layer.0", f"{path}.layer.1"
            hidden = sketch.rms_norm(f"{own}.layer_norm", x, copies=True)
            q, k, v = (sketch.linear(f"{own}.SelfAttention.{name}", hidden, inner, False, path) for name in "qkv")
            mixed = sketch.attention(q, k, v, heads)
            x = sketch.add(x, sketch.linear(f"{own}.SelfAttention.o", mixed, channels, False))
            hidden = sketch.rms_norm(f"{feed}.layer_norm", x, copies=True)
            hidden = _gated(sketch, f"{feed}.DenseReluDense", hidden, config["d_ff"], ("wi_0", "wi_1", "wo"))
            x = sketch.add(x, hidden)
    del shift
    return sketch.rms_norm("encoder.final_layer_norm", x, copies=True)


def qwen3(sketch: Sketch, config: Config, tokens: int) -> Value:
    """Qwen3, read as an encoder; several query heads share a key."""
    channels, heads, width = config["hidden_size"], config["num_attention_heads"], config["head_dim"]
    sketch.table("embed_tokens", config["vocab_size"] * channels)
    x = sketch.given(sketch.batch * tokens, channels)
    for index in range(config["num_hidden_layers"]):
        path = f"layers.{index}"
        with sketch.block(path, x):
            hidden = sketch.rms_norm(f"{path}.input_layernorm", x)
            x = sketch.add(x, _grouped(sketch, f"{path}.self_attn", hidden, heads, config["num_key_value_heads"], width))
            hidden = sketch.rms_norm(f"{path}.post_attention_layernorm", x)
            names = ("gate_proj", "up_proj", "down_proj")
            x = sketch.add(x, _gated(sketch, f"{path}.mlp", hidden, config["intermediate_size"], names))
    return sketch.rms_norm("norm", x)


def _gated(sketch: Sketch, path: str, x: Value, inner: int, names: tuple[str, str, str]) -> Value:
    gate, up = (sketch.linear(f"{path}.{name}", x, inner, bias=False, shared=path) for name in names[:2])
    return sketch.linear(f"{path}.{names[2]}", sketch.multiply(sketch.activation(gate), up), x.channels, bias=False)


def _grouped(sketch: Sketch, path: str, x: Value, heads: int, shared: int, width: int) -> Value:
    """Attention in which `shared` keys and values serve all `heads`."""
    sizes = {"q": heads, "k": shared, "v": shared}
    q, k, v = (sketch.linear(f"{path}.{name}_proj", x, count * width, False, path) for name, count in sizes.items())
    q = sketch.rms_norm(f"{path}.q_norm", q, rows=q.rows * heads)
    k = sketch.rms_norm(f"{path}.k_norm", k, rows=k.rows * shared)
    mixed = sketch.attention(sketch.add(q), sketch.add(k), v, heads)  # turned by their positions
    return sketch.linear(f"{path}.o_proj", mixed, x.channels, bias=False)
