"""How much is calculated: 2 FLOPs per multiply-add of every product, attention included, nothing else.

The base weights' gradients are never formed, so that a step with an adapter is about two forward passes, not three. What is
calculated a second time (gradient checkpointing, the scores of fused attention) does not count: it is work, but no progress.
"""

from __future__ import annotations

from engine.memory.sketch import Sketch


def forward_flops(sketch: Sketch) -> int:
    """Of the forward pass, for all pictures of the batch, adapters included."""
    return sum(block.forward for block in sketch.blocks)


def step_flops(sketch: Sketch) -> int:
    """Of forward and backward pass. Gradients of activations are wanted only from the first adapted layer on."""
    return sum(block.forward + block.backward for block in sketch.blocks)
