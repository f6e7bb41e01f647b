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
        peak: the most at any block of the backward pass: what the blocks up to it have kept, what is remade of its own, the
            gradients that its largest operation gives and is given, with what they are gradients of; and the adapters'
            gradients of the blocks behind it.
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
    peak, learnt, whole = 0, sum(block.learnt for block in sketch.blocks), 0
    for block in sketch.blocks:
        for memory, kind in block.kept.items():
            if id(memory) not in seen:
                seen.add(id(memory))
                kept[kind] += memory.size
        here = sum(block.remade.values()) + 2 * block.working
        whole = gradients * learnt // (sum(each.learnt for each in sketch.blocks) or 1)
        peak, learnt = max(peak, kept.total() + here + whole), learnt - block.learnt
    return Activations(dict(kept), peak)
