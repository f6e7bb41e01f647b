"""Activations made again in the backward pass instead of kept (gradient checkpointing; Chen et al. 2016).

A block keeps its inputs alone. Frozen networks draw nothing at random, and adapters draw before the forward pass, so that a
second forward is the first one, and gradients are the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from engine.families.attention import attention_as_now
from engine.families.blocks import blocks_of


def recomputed(forward: Callable, *args: Any, **kwargs: Any) -> Any:
    """forward(*args, **kwargs), whose insides are made again when their gradients are wanted."""
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(
        forward, *args, use_reentrant=False, preserve_rng_state=False, context_fn=attention_as_now, **kwargs
    )  # fmt: skip


@contextmanager
def checkpointing(parts: Iterable[nn.Module], count: int = 0) -> Iterator[None]:
    """Inside, blocks of these parts keep their inputs alone.

    Args:
        count: how many blocks of each part, those that keep most; 0 is all.
    """
    shadowed = [
        block
        for part in parts
        for block in blocks_of(part)[: count or None]
        if "forward" not in block.__dict__  # streamed blocks do it anyway
    ]
    for block in shadowed:
        block.forward = _Recomputed(block.forward)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in shadowed:
            del block.forward


class _Recomputed:
    """A block's forward."""

    def __init__(self, forward: Callable) -> None:
        self.forward = forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return recomputed(self.forward, *args, **kwargs)
