"""The blocks that a network repeats: what is checkpointed and what is streamed.

Together they hold nearly all of its weights and activations; none is part of another.
"""

from __future__ import annotations

from torch import nn

from engine.memory.order import largest_first

BLOCKS = {
    "ResnetBlock2D", "BasicTransformerBlock", "Downsample2D", "Upsample2D",  # U-Nets
    "JointTransformerBlock", "FluxTransformerBlock", "FluxSingleTransformerBlock", "ZImageTransformerBlock",
    "CLIPEncoderLayer", "T5Block", "Qwen3DecoderLayer",
}  # fmt: skip
"""Their classes in diffusers and transformers."""


def blocks_of(part: nn.Module) -> list[nn.Module]:
    """The blocks, those with the largest activations first: a U-Net's outermost; elsewhere all are alike."""
    found = {path: module for path, module in part.named_modules() if type(module).__name__ in BLOCKS}
    return [found[path] for path in largest_first(found)]
