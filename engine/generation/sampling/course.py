"""What a sampler is: a generator that asks for the clean picture at one noise level after the other.

    def euler(x, levels, draw):
        for level, following in pairwise(levels):
            x, clean = yield level, x
            x = clean + following / level * (x - clean)
        return x

A noisy picture is picture + level * noise; for flow matching (1 - level) * picture + level * noise, which has the same slope,
dx/dlevel = (x - clean) / level.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from torch import Tensor

Course = Generator[tuple[float, Tensor], tuple[Tensor, Tensor], Tensor]
"""Yields a level and the latents (B, C, h, w) there; is sent those latents, which may have been painted over meanwhile, and what
the model takes for the clean ones; returns the latents at the last level."""
Draw = Callable[[], Tensor]
"""Fresh unit noise, (B, C, h, w)."""
Start = Callable[[Tensor, Sequence[float], Draw], Course]
"""Starts a course: from latents at the first level, through levels that fall to 0, with a source of fresh noise."""
