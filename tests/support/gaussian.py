"""Pictures whose answer is known: every number of them is N(MEAN, SPREAD^2), so the best denoiser and every sampler's end are too."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from engine.generation.sampling.course import Draw, Start
from engine.generation.sampling.noise import PictureNoise
from engine.generation.sampling.walk import Walk

MEAN, SPREAD = 0.6, 0.5
Denoiser = Callable[[Tensor, float], Tensor]


def clean(latents: Tensor, level: float) -> Tensor:
    """E[picture | picture + level * noise]."""
    return MEAN + SPREAD**2 / (SPREAD**2 + level**2) * (latents - MEAN)


def flow_clean(latents: Tensor, level: float) -> Tensor:
    """E[picture | (1 - level) * picture + level * noise]."""
    kept = 1 - level
    return MEAN + kept * SPREAD**2 / (kept**2 * SPREAD**2 + level**2) * (latents - kept * MEAN)


def carried(latents: Tensor, start: float, end: float) -> Tensor:
    """Where the probability flow ODE takes latents from one level to another: as far from the mean, measured in spreads."""
    return MEAN + (latents - MEAN) * ((SPREAD**2 + end**2) / (SPREAD**2 + start**2)) ** 0.5


def model_output(walk: Walk, call: int, latents: Tensor, prediction: str) -> Tensor:
    """What a perfect model answers to `walk.model_input(latents, call)`."""
    level, seen = walk.levels[call], walk.model_input(latents, call)
    if prediction == "flow":
        return (latents - flow_clean(latents, level)) / level
    picture = clean(latents, level)
    epsilon = (latents - picture) / level
    if prediction == "epsilon":
        return epsilon
    kept = 1 / (1 + level**2) ** 0.5
    assert torch.allclose(seen, kept * picture + level * kept * epsilon, atol=1e-5)
    return kept * epsilon - level * kept * picture


def walk_all(walk: Walk, noise: PictureNoise, prediction: str, source: Tensor | None = None) -> Tensor:
    """The latents at the end of a walk with a perfect model."""
    latents = walk.begin(noise.first(), source)
    for call in range(walk.calls):
        latents = walk.advance(model_output(walk, call, latents, prediction), call, latents, noise)
    return latents


def drive(start: Start, latents: Tensor, levels: Sequence[float], draw: Draw, denoiser: Denoiser = clean) -> Tensor:
    """The latents at the end of a course with a perfect model."""
    course = start(latents, levels, draw)
    level, latents = next(course)
    while True:
        try:
            level, latents = course.send((latents, denoiser(latents, level)))
        except StopIteration as end:
            return end.value


def moments(
    start: Start, levels: Sequence[float], denoiser: Denoiser = clean, level_spread: float | None = None
) -> tuple[float, float]:
    """Mean and spread at the end of a course, exactly: with this denoiser every step is affine in the latents and in each draw.

    Args:
        level_spread: of the latents it starts from; None: of pictures at the first level.
    """
    draws = 0

    def nothing() -> Tensor:
        nonlocal draws
        draws += 1
        return torch.zeros(1, 1, 1, 1, dtype=torch.float64)

    middle = torch.full((1, 1, 1, 1), MEAN, dtype=torch.float64)
    mean = drive(start, middle, levels, nothing, denoiser)
    drawn = iter(range(draws))
    spread = (SPREAD**2 + levels[0] ** 2) ** 0.5 if level_spread is None else level_spread

    def one() -> Tensor:
        """Picture k + 1 is given unit noise at draw k, and no other."""
        found = torch.zeros(draws + 1, 1, 1, 1, dtype=torch.float64)
        found[next(drawn) + 1] = 1
        return found

    pictures = middle.repeat(draws + 1, 1, 1, 1)
    pictures[0] += spread
    answers = drive(start, pictures, levels, one, denoiser) - mean
    return mean.item(), (answers**2).sum().sqrt().item()
