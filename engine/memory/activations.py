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
        working: the most that is there besides, at any block of the backward pass: what is remade of it, and the gradients that
            its largest operation is given and gives, with what they are gradients of.
        peak: the most at once.
    """

    kept: dict[str, int]
    working: int
    peak: int


def activations(sketch: Sketch) -> Activations:
    """Of a walk with adapters. The backward pass goes from the last block to the first and lets go of what each has kept."""
    kept: Counter[str] = Counter()
    seen: set[int] = set()
    working, peak = 0, 0
    for block in sketch.blocks:
        for memory, kind in block.kept.items():
            if id(memory) not in seen:
                seen.add(id(memory))
                kept[kind] += memory.size
        here = sum(block.remade.values()) + 2 * block.working
        working, peak = max(working, here), max(peak, kept.total() + here)
    return Activations(dict(kept), working, peak)
