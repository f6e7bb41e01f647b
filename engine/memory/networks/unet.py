"""The U-Net of Stable Diffusion 1, 2 and SDXL: diffusers' `UNet2DConditionModel`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.memory.networks.pieces import attention, feed_forward, resnet, two_layers
from engine.memory.sketch import Sketch
from engine.memory.values import Value


@dataclass(frozen=True)
class Level:
    """One size of the picture: block `index` on the way down."""

    channels: int
    heads: int
    depth: int
    attends: bool


def levels(config: Mapping[str, Any]) -> list[Level]:
    """The levels on the way down; the way up mirrors them."""
    widths, kinds = config["block_out_channels"], config["down_block_types"]
    heads = config.get("num_attention_heads") or config.get("attention_head_dim") or 8  # the second is the number too, by mistake
    heads = [heads] * len(widths) if isinstance(heads, int) else heads
    depth = config.get("transformer_layers_per_block") or 1
    depths = [depth] * len(widths) if isinstance(depth, int) else depth
    return [Level(*level) for level in zip(widths, heads, depths, ("CrossAttn" in kind for kind in kinds), strict=True)]


def unet(sketch: Sketch, config: Mapping[str, Any], width: int, height: int, text: Value) -> Value:
    """Args:
    width, height: of the latents.
    text: the encoded captions, their tokens' width channels.
    """
    steps, per_level, rows = levels(config), config.get("layers_per_block", 2), sketch.batch * width * height
    time = _time(sketch, config, steps[0].channels)
    hidden = sketch.conv("conv_in", sketch.given(rows, config.get("in_channels", 4)), steps[0].channels)
    walk, skips = _Walk(sketch, config, time, text), [hidden]
    for index, level in enumerate(steps):
        path = f"down_blocks.{index}"
        for layer in range(per_level):
            hidden = walk.resnet(f"{path}.resnets.{layer}", hidden, level.channels)
            if level.attends:
                hidden = walk.transformer(f"{path}.attentions.{layer}", hidden, level)
            skips.append(hidden)
        if level is not steps[-1]:
            with sketch.block(f"{path}.downsamplers.0", hidden):
                hidden = sketch.conv(f"{path}.downsamplers.0.conv", hidden, level.channels, rows=hidden.rows // 4)
            skips.append(hidden)
    hidden = walk.resnet("mid_block.resnets.0", hidden, steps[-1].channels)
    hidden = walk.transformer("mid_block.attentions.0", hidden, steps[-1])
    hidden = walk.resnet("mid_block.resnets.1", hidden, steps[-1].channels)
    for index, level in enumerate(reversed(steps)):
        path = f"up_blocks.{index}"
        for layer in range(per_level + 1):
            joined = sketch.join_channels(hidden, skips.pop())
            hidden = walk.resnet(f"{path}.resnets.{layer}", joined, level.channels)
            del joined
            if level.attends:
                hidden = walk.transformer(f"{path}.attentions.{layer}", hidden, level)
        if level is not steps[0]:
            with sketch.block(f"{path}.upsamplers.0", hidden):
                hidden = upsample(sketch, f"{path}.upsamplers.0.conv", hidden)
    hidden = sketch.activation(sketch.norm("conv_norm_out", hidden, config.get("norm_num_groups", 32)))
    return sketch.conv("conv_out", hidden, config.get("out_channels", 4))


def upsample(sketch: Sketch, path: str, x: Value) -> Value:
    """Twice the side, then a convolution."""
    larger = sketch.made(4 * x.rows, x.channels, x)
    return sketch.conv(path, larger, x.channels)


def _time(sketch: Sketch, config: Mapping[str, Any], channels: int) -> Value:
    """What blocks are told of the noise level, and in SDXL of sizes and the pooled text: one row per picture."""
    time = two_layers(sketch, "time_embedding", sketch.given(sketch.batch, channels), 4 * channels)
    if config.get("addition_embed_type") == "text_time":
        told = sketch.given(sketch.batch, config["projection_class_embeddings_input_dim"])
        time = sketch.add(time, two_layers(sketch, "add_embedding", told, 4 * channels))
    return time


@dataclass(frozen=True)
class _Walk:
    sketch: Sketch
    config: Mapping[str, Any]
    time: Value
    text: Value

    @property
    def groups(self) -> int:
        return self.config.get("norm_num_groups", 32)

    def resnet(self, path: str, x: Value, channels: int) -> Value:
        with self.sketch.block(path, x, self.time):
            return resnet(self.sketch, path, x, self.time, channels, self.groups)

    def transformer(self, path: str, x: Value, level: Level) -> Value:
        """`Transformer2DModel`: every position is a token."""
        sketch, linear = self.sketch, self.config.get("use_linear_projection", False)
        hidden = sketch.norm(f"{path}.norm", x, self.groups)
        inward, outward = f"{path}.proj_in", f"{path}.proj_out"
        hidden = sketch.linear(inward, hidden, level.channels) if linear else sketch.conv(inward, hidden, level.channels, 1)
        for index in range(level.depth):
            block = f"{path}.transformer_blocks.{index}"
            with sketch.block(block, hidden, self.text):
                hidden = self.block(block, hidden, level.heads)
        hidden = sketch.linear(outward, hidden, level.channels) if linear else sketch.conv(outward, hidden, level.channels, 1)
        return sketch.add(hidden, x)

    def block(self, path: str, x: Value, heads: int) -> Value:
        """`BasicTransformerBlock`: among themselves, from the words, each by itself."""
        sketch = self.sketch
        x = sketch.add(attention(sketch, f"{path}.attn1", sketch.norm(f"{path}.norm1", x), None, x.channels, heads), x)
        x = sketch.add(attention(sketch, f"{path}.attn2", sketch.norm(f"{path}.norm2", x), self.text, x.channels, heads), x)
        return sketch.add(feed_forward(sketch, f"{path}.ff", sketch.norm(f"{path}.norm3", x), gated=True), x)
