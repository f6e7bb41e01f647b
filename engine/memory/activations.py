"""The memory of a training step beside weights and adapters: what autograd keeps, and what the backward pass works with."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from engine.memory.sketch import Sketch


@dataclass(frozen=True)
class Activations:
    """Bytes.

    Attributes:
        kept: at the end of the forward pass, by the kind of operation that needs it.
        peak: the most at any block of the backward pass: what the blocks before it have kept, what it holds itself, kept or remade,
            and the adapters' gradients of the blocks behind it.
    """

    kept: dict[str, int]
    peak: int


def activations(sketch: Sketch, gradients: int = 0) -> Activations:
    """Of a walk with adapters. The backward pass goes from the last block to the first and lets go of what each has kept.

    Args:
        gradients: bytes of the adapters' gradients, which grow on the way.
    """
    kept: Counter[str] = Counter()
    seen: set[int] = set()
    learnt = total = sum(block.learnt for block in sketch.blocks)
    peak = 0
    for block in sketch.blocks:
        before = kept.total()
        for memory, kind in block.kept.items():
            if id(memory) not in seen:
                seen.add(id(memory))
                kept[kind] += memory.size
        given = kept.total() - before if block.again else 0
        peak = max(peak, before + given + block.peak + gradients * learnt // (total or 1))
        learnt -= block.learnt
    return Activations(dict(kept), peak)
