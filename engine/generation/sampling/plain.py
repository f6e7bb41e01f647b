"""Samplers without fresh noise that diffusers lacks, or that it ties to levels of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from engine.generation.sampling.course import Course, Draw


def ddim(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """Song et al. 2020, equation 12 with eta 0."""
    for level, following in pairwise(levels):
        x, clean = yield level, x
        x = clean + following / level * (x - clean)
    return x


def dpm_2(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """DPM-Solver-2 (Lu et al. 2022, algorithm 1) as Karras et al. 2022 walk: the slope halfway, in the logarithm of the level."""
    for level, following in pairwise(levels):
        x, clean = yield level, x
        if not following:
            return clean
        middle = (level * following) ** 0.5
        between, clean = yield middle, clean + middle / level * (x - clean)
        x = x + (following - level) / middle * (between - clean)
    return x
