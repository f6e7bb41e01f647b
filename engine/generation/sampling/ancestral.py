"""Samplers that go below the next noise level and put fresh noise on top, so that every level keeps its distribution."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from engine.generation.sampling.course import Course, Draw


def ancestral_step(level: float, following: float) -> tuple[float, float]:
    """How far to go down, and how much noise to add: below^2 + fresh^2 = following^2 (Song et al. 2020, equation 47).

    Returns:
        (below, fresh).
    """
    fresh = following * (1 - (following / level) ** 2) ** 0.5
    return following**2 / level, fresh


def euler_ancestral(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """An Euler step to below the next level, then fresh noise up to it."""
    for level, following in pairwise(levels):
        x, clean = yield level, x
        below, fresh = ancestral_step(level, following)
        x = clean + below / level * (x - clean)
        if following:
            x = x + fresh * draw()
    return x


def flow_euler_ancestral(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """The same on straight lines: what is below is scaled to as much picture as the next level has, and lacks noise then."""
    for level, following in pairwise(levels):
        x, clean = yield level, x
        below = following**2 / level
        x = clean + below / level * (x - clean)
        if following:
            share = (1 - following) / (1 - below)
            x = share * x + (following**2 - (share * below) ** 2) ** 0.5 * draw()
    return x


def dpm_2s_ancestral(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """DPM-Solver++(2S) (Lu et al. 2022, algorithm 1, r = 1/2) to below the next level, then fresh noise up to it."""
    for level, following in pairwise(levels):
        x, clean = yield level, x
        if not following:
            return clean
        below, fresh = ancestral_step(level, following)
        middle = (level * below) ** 0.5
        _, clean = yield middle, clean + middle / level * (x - clean)
        x = clean + below / level * (x - clean) + fresh * draw()
    return x


def lcm(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """Multistep sampling of consistency models (Song et al. 2023, algorithm 1; Luo et al. 2023): clean picture, all noise anew."""
    for level, following in pairwise(levels):
        _, x = yield level, x
        if following:
            x = x + following * draw()
    return x
