"""How the learning rate moves over a run: pure functions from progress to a factor, so that a resumed run needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(done: float) -> float:
    return 1.0


def cosine(done: float) -> float:
    """Half a cosine from 1 to 0 (Loshchilov & Hutter 2017, equation 5)."""
    return 0.5 * (1 + math.cos(math.pi * done))


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "cosine": cosine}
"""Name -> factor after the warm-up, from the fraction 0-1 of what follows it."""


def factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """The factor on the learning rate of `step` (from 1) of `steps`; rises linearly over the first `warmup` of the run."""
    warm = round(warmup * steps)
    if step <= warm:
        return step / (warm + 1)
    return SCHEDULES[schedule]((step - 1 - warm) / max(1, steps - warm))
