"""SDE-DPM-Solver++ (Lu et al. 2022, section 5): exact in the linear part and in the noise, of rising order in the picture.

With h the fall of the logarithm of the level, from `level` to `following`, the SDE's solution for a picture that stays is

    x' = e^(-2h) x + (1 - e^(-2h)) picture + following (1 - e^(-2h))^(1/2) noise

and the picture does not stay: its slopes over h come from a call in between, or from the calls before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import exp, expm1, log

from torch import Tensor

from engine.generation.sampling.ancestral import ancestral_step
from engine.generation.sampling.course import Course, Draw


def dpm_sde(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """DPM++ SDE: one call in between, halfway in the logarithm of the level (r = 1/2).

    The noise of the whole step is that of its two halves, each with the variance the SDE gives it.
    """
    for level, following in pairwise(levels):
        x, clean = yield level, x
        if not following:
            return clean
        middle = (level * following) ** 0.5
        below, fresh = ancestral_step(level, middle)
        upper = draw()
        _, halfway = yield middle, clean + below / level * (x - clean) + fresh * upper
        below, fresh = ancestral_step(level, following)
        share = (level**2 - middle**2) / (level**2 - following**2)
        noise = share**0.5 * upper + (1 - share) ** 0.5 * draw()
        x = halfway + below / level * (x - halfway) + fresh * noise
    return x


def dpm_2m_sde(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """DPM++ 2M SDE: the slope from the call before (algorithm 2 of the paper with its midpoint rule)."""
    before, last = None, 0.0
    for level, following in pairwise(levels):
        x, clean = yield level, x
        if not following:
            return clean
        h = log(level / following)
        reach = -expm1(-2 * h)
        change = reach * clean
        if before is not None:
            change = change + reach / 2 * h / last * (clean - before)
        x = exp(-2 * h) * x + change + following * reach**0.5 * draw()
        before, last = clean, h
    return x


def dpm_3m_sde(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
    """DPM++ 3M SDE: slope and curvature from two calls before; weights are the phi functions of exponential integrators.

    The curvature counts half of what Taylor's series says, as in the authors' code, whose pictures these are.
    """
    history: list[tuple[Tensor, float]] = []  # the clean picture and h of earlier steps, the last one first
    for level, following in pairwise(levels):
        x, clean = yield level, x
        if not following:
            return clean
        h = log(level / following)
        reach = -expm1(-2 * h)
        slope_weight = 1 - reach / (2 * h)
        change = reach * clean
        if history:
            (before, last), *earlier = history
            slope, curvature = (clean - before) * (h / last), None
            if earlier:
                older, older_h = earlier[0]
                steeper = (before - older) * (h / older_h)
                curvature = (slope - steeper) * (h / (last + older_h))
                slope = slope + curvature * (last / h)
            change = change + slope_weight * slope
            if curvature is not None:
                change = change - (slope_weight / (2 * h) - 0.5) * curvature
        x = exp(-2 * h) * x + change + following * reach**0.5 * draw()
        history = [(clean, h), *history[:1]]
    return x
