"""What each denoiser call is told, and how the answers become one.

A prompt may change on the way and have several parts; the negative prompt is one more text. All that one call needs goes through
the model in one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.families.base import Conditions, Family
from engine.generation.prompt import parse_schedule, split_composable


@dataclass(frozen=True)
class Part:
    """One part of an AND prompt: its weight and, for every denoiser call, the text in force."""

    weight: float
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Telling:
    """What a walk is told.

    Attributes:
        against: the negative prompt at every call; empty without guidance, where one text of weight 1 is all there is.
        scale: of the guidance; 1 is none.
    """

    parts: list[Part]
    against: tuple[str, ...]
    scale: float

    def texts(self) -> Iterator[str]:
        """Every text of every call."""
        for part in self.parts:
            yield from part.texts
        yield from self.against

    def at(self, call: int) -> list[str]:
        """The texts of one call: those of the parts, then the negative prompt."""
        return [part.texts[call] for part in self.parts] + list(self.against[call : call + 1])

    def guide(self, predictions: list[Tensor]) -> Tensor:
        """One prediction (B, C, h, w) of those for the texts of a call.

        Classifier-free guidance (Ho & Salimans 2022), composed (Liu et al. 2022): uncond + sum of w * scale * (cond - uncond).
        """
        if not self.against:
            return predictions[0]
        *conditional, base = predictions
        apart = torch.stack([part.weight * (each - base) for part, each in zip(self.parts, conditional, strict=True)])
        return base + self.scale * apart.sum(0)


def plan_texts(text: str, steps: int, calls: int, first_steps: int | None = None) -> tuple[str, ...]:
    """The text in force at each denoiser call. A schedule counts steps; samplers of second order make two calls a step.

    Args:
        first_steps: steps of the pass before, when this is the second one.
    """
    stages = parse_schedule(text, steps) if first_steps is None else parse_schedule(text, first_steps, steps)
    of_step = [next(stage for until, stage in stages if step <= until) for step in range(1, steps + 1)]
    return tuple(of_step[call * steps // calls] for call in range(calls))


def plan_parts(text: str, steps: int, calls: int, first_steps: int | None = None) -> list[Part]:
    """What each denoiser call is told, for every part of an AND prompt."""
    return [Part(weight, plan_texts(part, steps, calls, first_steps)) for part, weight in split_composable(text)]


def predict(model: Family, latents: Tensor, timestep: Tensor, rows: list[Conditions]) -> list[Tensor]:
    """The model's prediction (B, C, h, w) for every row of conditions, in one batch; float32."""
    count = len(latents)
    conditions = {name: torch.cat([row[name].expand(count, *row[name].shape[1:]) for row in rows]) for name in rows[0]}
    output = model.predict(latents.repeat(len(rows), 1, 1, 1), timestep.expand(count * len(rows)), conditions)
    return list(output.float().split(count))
