"""Samplers that are diffusers' schedulers, walking our levels.

A scheduler is told the clean picture (its prediction type "sample"), so that it needs to know nothing of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from engine.generation.sampling.course import Course, Draw, Start

HIGHEST = 1 - 1e-6
"""The level of a flow that UniPC starts from: it takes the logarithm of how much picture there is."""


def scheduled(kind: Any, *, keeps_variance: bool = False, highest: float = float("inf"), **options: Any) -> Start:
    """The course of a scheduler.

    Args:
        kind: its class.
        keeps_variance: whether its latents are scaled to unit variance, (picture + level * noise) / (1 + level^2)^(1/2).
        highest: levels above are lowered to it.
        options: its settings.
    """

    def norm(level: float) -> float:
        return (1 + level**2) ** 0.5 if keeps_variance else 1.0

    def start(x: Tensor, levels: Sequence[float], draw: Draw) -> Course:
        scheduler = kind(prediction_type="sample", **options)
        scheduler.set_timesteps(len(levels) - 1)
        if scheduler.order == 2:  # it looks at every level twice, but for the first and the last
            levels = [levels[0], *(level for inner in levels[1:-1] for level in (inner, inner)), levels[-1]]
        # The classes would space the levels each in its own way.
        scheduler.sigmas = torch.tensor(levels, dtype=torch.float32).clamp(max=highest)
        scheduler.timesteps = scheduler.sigmas[:-1]
        scheduler.set_begin_index(0)
        scheduler.is_scale_input_called = True
        for level, following in pairwise(levels):
            x, clean = yield level, x
            x = scheduler.step(clean, level, x / norm(level), return_dict=False)[0] * norm(following)
        return x

    return start
