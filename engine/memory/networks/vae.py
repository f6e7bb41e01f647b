"""The VAE of all families, `AutoencoderKL`: pictures to latents, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.memory.networks.pieces import resnet
from engine.memory.networks.unet import upsample
from engine.memory.sketch import Sketch
from engine.memory.values import Value


def encoder(sketch: Sketch, config: Mapping[str, Any], width: int, height: int) -> Value:
    """A picture of this size in px to the mean and variance of its latents."""
    widths, groups = config["block_out_channels"], config.get("norm_num_groups", 32)
    hidden = sketch.conv("encoder.conv_in", sketch.given(sketch.batch * width * height, config.get("in_channels", 3)), widths[0])
    for index, channels in enumerate(widths):
        hidden = _down(sketch, config, f"encoder.down_blocks.{index}", hidden, channels, last=index == len(widths) - 1)
    hidden = _middle(sketch, "encoder.mid_block", hidden, groups, config.get("mid_block_add_attention", True))
    hidden = sketch.activation(sketch.norm("encoder.conv_norm_out", hidden, groups))
    moments = sketch.conv("encoder.conv_out", hidden, 2 * config["latent_channels"])
    if config.get("use_quant_conv", True):
        moments = sketch.conv("quant_conv", moments, 2 * config["latent_channels"], kernel=1)
    return moments


def decoder(sketch: Sketch, config: Mapping[str, Any], width: int, height: int) -> Value:
    """Latents of a picture of this size in px to the picture."""
    widths, groups, channels = config["block_out_channels"], config.get("norm_num_groups", 32), config["latent_channels"]
    shrink = 4 ** (len(widths) - 1)
    latents = sketch.given(sketch.batch * width * height // shrink, channels)
    if config.get("use_post_quant_conv", True):
        latents = sketch.conv("post_quant_conv", latents, channels, kernel=1)
    hidden = sketch.conv("decoder.conv_in", latents, widths[-1])
    hidden = _middle(sketch, "decoder.mid_block", hidden, groups, config.get("mid_block_add_attention", True))
    for index, channels in enumerate(reversed(widths)):
        path = f"decoder.up_blocks.{index}"
        for layer in range(config["layers_per_block"] + 1):
            hidden = resnet(sketch, f"{path}.resnets.{layer}", hidden, None, channels, groups)
        if index < len(widths) - 1:
            hidden = upsample(sketch, f"{path}.upsamplers.0.conv", hidden)
    hidden = sketch.activation(sketch.norm("decoder.conv_norm_out", hidden, groups))
    return sketch.conv("decoder.conv_out", hidden, config.get("out_channels", 3))


def _down(sketch: Sketch, config: Mapping[str, Any], path: str, given: Value, channels: int, last: bool) -> Value:
    """`DownEncoderBlock2D`; whoever calls it holds `given` until it is done."""
    hidden = given
    for layer in range(config["layers_per_block"]):
        hidden = resnet(sketch, f"{path}.resnets.{layer}", hidden, None, channels, config.get("norm_num_groups", 32))
    if last:
        return hidden
    padded = sketch.made(hidden.rows, channels, hidden)
    return sketch.conv(f"{path}.downsamplers.0.conv", padded, channels, rows=hidden.rows // 4)


def _middle(sketch: Sketch, path: str, x: Value, groups: int, attends: bool) -> Value:
    """Two residual blocks and one attention with a single head."""
    x = resnet(sketch, f"{path}.resnets.0", x, None, x.channels, groups)
    if attends:
        normed = sketch.norm(f"{path}.attentions.0.group_norm", x, groups)
        q, k, v = (sketch.linear(f"{path}.attentions.0.to_{name}", normed, x.channels, shared=path) for name in "qkv")
        mixed = sketch.linear(f"{path}.attentions.0.to_out.0", sketch.attention(q, k, v, 1), x.channels)
        x = sketch.add(mixed, x)
    return resnet(sketch, f"{path}.resnets.1", x, None, x.channels, groups)
