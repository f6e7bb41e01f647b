"""AdaLoRA: LoRA as a singular value decomposition, whose ranks go to the layers that need them.

Zhang et al. 2023, "AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning" (arXiv 2303.10512):
W' = W + (alpha / rank) P diag(values) Q, with a penalty that keeps the columns of P and the rows of Q orthonormal (equations 3
and 4). A value with its two vectors is a triplet; its score (equation 7) is the importance of the value plus the mean
importance of the vectors. Every `INTERVAL` steps the triplets with the lowest scores in the whole network are set to zero, as
many as the budget says, which falls along a cubic curve (equation 12). In between they may grow again and come back, until
the budget has reached its end. As in PEFT, begin and end of that curve are meant where the paper's formula has a slip.

Two things differ from the paper and PEFT. P and Q begin orthonormal instead of small and random, so that the penalty begins
at zero whatever the layer's width. And the values learn faster than the vectors, by as much as makes a step of theirs as long
as one of LoRA's `up`; otherwise the usual learning rates would be ten times too low.

The file is a plain LoRA of the triplets that are not zero. A layer that has none left keeps one, zero, which every program
reads, so that no layer is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from engine.adapters.base import LayerShape, ParamGroup
from engine.adapters.importance import Importance
from engine.adapters.initial import fitting
from engine.adapters.layers import Base
from engine.adapters.thin import Factor, Thin, thin_common
from engine.config.adapter import AdaloraOptions
from engine.config.sizes import check_rank, thin_rank

INTERVAL = 10
"""Steps between two decisions (Delta T of the paper)."""


@dataclass(frozen=True)
class Schedule:
    """Layers whose schedules are the same share one budget.

    Attributes:
        budget: share of the ranks that is left at the end.
        begin, end: shares of the run between which the others are taken away.
    """

    budget: float
    begin: float
    end: float

    def decides(self, step: int, steps: int) -> bool:
        """Whether triplets are chosen after this step (from 1); for the last time at the end of the curve."""
        last = self.last(steps)
        return self.begin * steps < step <= last and (step % INTERVAL == 0 or step == last)

    def last(self, steps: int) -> int:
        """The step of the last choice; one is made however short the run."""
        return max(int(self.begin * steps) + 1, round(self.end * steps))

    def left(self, step: int, steps: int) -> float:
        """Share of the ranks that is left after a step: equation 12."""
        way = (step - self.begin * steps) / (self.last(steps) - self.begin * steps)
        return self.budget + (1 - self.budget) * (1 - way) ** 3


class Adalora(Thin):
    """P is `lora_up`, Q `lora_down`.

    Attributes:
        values: the singular values, (rank,).
        alive: which triplets the last choice left, (rank,).
        schedule: when ranks are taken away.
    """

    alive: Tensor

    def __init__(
        self, down: Tensor, up: Tensor, values: Tensor, scale: float, schedule: Schedule, orthogonality: float, **common: float
    ) -> None:
        super().__init__(**common)
        self.lora_down, self.lora_up, self.values = Factor(down), Factor(up), nn.Parameter(values)
        self.importance = nn.ModuleList(Importance(part) for part in (down, up, values))
        self.register_buffer("alive", torch.ones(len(values), dtype=torch.bool))
        self.scale, self.schedule, self.orthogonality = scale, schedule, orthogonality

    @classmethod
    def create(cls, shape: LayerShape, base: Base, options: AdaloraOptions, generator: torch.Generator) -> Self:
        rank, scale = thin_rank(shape, options)
        sizes = torch.Size(shape.weight[1:]).numel(), shape.outputs
        check_rank(rank, *reversed(sizes))
        q, p = (torch.linalg.qr(torch.randn(size, rank, generator=generator))[0] for size in sizes)
        schedule = Schedule(options.budget, options.begin, options.end)
        factors = fitting(shape, q.T, p)
        return cls(*factors, torch.zeros(rank), scale, schedule, options.orthogonality, **thin_common(options))

    def factors(self) -> tuple[Tensor, Tensor]:
        up = self.lora_up.weight
        return self.lora_down.weight, up * (self.values * self.scale).view(-1, *(1 for _ in up.shape[2:]))

    def own_down(self) -> nn.Parameter:
        return self.lora_down.weight

    def tensors(self) -> dict[str, Tensor]:
        down, up = self.factors()
        left = self.values.nonzero().flatten() if self.values.any() else [0]
        return {"lora_down.weight": down[left], "lora_up.weight": up[:, left], "alpha": torch.tensor(float(len(left)))}

    def linear_factors(self) -> list[nn.Parameter]:
        return [self.values]

    def param_groups(self) -> list[ParamGroup]:
        # Adam moves every number by the rate, so a column of LoRA's `up` by sqrt(outputs) times it; a row of `down` has norm sqrt(1/3).
        rate = (self.lora_up.weight.shape[0] / 3) ** 0.5
        return [ParamGroup([self.lora_down.weight, self.lora_up.weight]), ParamGroup([self.values], rate, up=True)]

    def penalty(self) -> Tensor | None:
        """R(P, Q) of equation 4."""
        if not self.orthogonality:
            return None
        p, q = self.lora_up.weight.flatten(1), self.lora_down.weight.flatten(1)
        return self.orthogonality * (distance_to_identity(p.T @ p) + distance_to_identity(q @ q.T))

    def after_backward(self) -> None:
        if self.dropped:
            return
        for importance, parameter in zip(self.importance, (self.lora_down.weight, self.lora_up.weight, self.values), strict=True):
            importance.observe(parameter)  # type: ignore[operator]

    def scores(self) -> Tensor:
        """What each triplet is worth, (rank,): equation 7."""
        down, up, values = (importance.scores() for importance in self.importance)  # type: ignore[operator]
        return values + up.flatten(1).mean(0) + down.flatten(1).mean(1)

    @classmethod
    @torch.no_grad()
    def after_step(cls, adapters: Sequence[Self], step: int, steps: int) -> None:
        super().after_step(adapters, step, steps)
        for schedule in dict.fromkeys(adapter.schedule for adapter in adapters):
            sharing = [adapter for adapter in adapters if adapter.schedule == schedule]
            if schedule.decides(step, steps):
                _choose(sharing, schedule.left(step, steps))
            if schedule.decides(step, steps) or step > schedule.last(steps):
                for adapter in sharing:
                    adapter.values.mul_(adapter.alive)


def _choose(adapters: Sequence[Adalora], share: float) -> None:
    """Keep alive the triplets that are worth most over all these layers."""
    scores = torch.cat([adapter.scores() for adapter in adapters])
    alive = torch.zeros_like(scores, dtype=torch.bool)
    alive[scores.argsort(descending=True, stable=True)[: max(1, round(share * len(scores)))]] = True
    for adapter, own in zip(adapters, alive.split([len(adapter.values) for adapter in adapters]), strict=True):
        adapter.alive.copy_(own)


def distance_to_identity(gram: Tensor) -> Tensor:
    """Squared Frobenius norm of a square matrix minus the identity."""
    return (gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).square().sum()
