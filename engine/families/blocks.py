"""The blocks that a network repeats: what is checkpointed and what is streamed.

Together they hold nearly all of its weights and activations; none is part of another.
"""

from __future__ import annotations

from torch import nn

BLOCKS = {
    "ResnetBlock2D", "BasicTransformerBlock", "Downsample2D", "Upsample2D",  # U-Nets
    "JointTransformerBlock", "FluxTransformerBlock", "FluxSingleTransformerBlock", "ZImageTransformerBlock",
    "CLIPEncoderLayer", "T5Block", "Qwen3DecoderLayer",
}  # fmt: skip
"""Their classes in diffusers and transformers."""


def blocks_of(part: nn.Module) -> list[nn.Module]:
    """The blocks, those with the largest activations first: a U-Net's outermost; elsewhere all are alike."""
    found = [(path, module) for path, module in part.named_modules() if type(module).__name__ in BLOCKS]
    levels = max((int(path.split(".")[1]) + 1 for path, _ in found if path.startswith("up_blocks.")), default=0)
    return [module for _, module in sorted(found, key=lambda each: _level(each[0], levels))]


def _level(path: str, levels: int) -> int:
    """How often a U-Net has halved the picture before this block."""
    side, number = (*path.split("."), "")[:2]
    if side == "mid_block":
        return levels
    return {"down_blocks": lambda: int(number), "up_blocks": lambda: levels - 1 - int(number)}.get(side, lambda: 0)()
