"""The noise levels of flow matching models (SD3, FLUX, Z-Image), which run from noise to picture on straight lines.

A noisy picture is (1 - level) * picture + level * noise. Levels are shifted towards noise as the model's own schedule says
(Esser et al. 2024, section 5.3.2); schedules differ in how they lie before that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from scipy.stats import beta

from engine.generation.sampling.schedules import BETA


def even_levels(steps: int) -> list[float]:
    """Levels in equal steps from 1 to 0, the last left out; before the shift."""
    return [1 - step / steps for step in range(steps)]


def beta_levels(steps: int) -> list[float]:
    """Lee et al. 2024: quantiles of the beta distribution from 1 to 0, the last left out; before the shift."""
    return list(beta.ppf(np.linspace(1, 0, steps + 1)[:-1], *BETA))


FLOW_SCHEDULES: dict[str, Callable[[int], list[float]] | None] = {"Uniform": None, "Simple": even_levels, "Beta": beta_levels}
"""Schedule -> the levels before the shift; "Uniform" is the model's own, and no name the page offers."""


def flow_levels(schedule: str, scheduler_config: Mapping[str, Any], steps: int, **options: Any) -> np.ndarray:
    """The noise levels of a run: (steps,) float64, falling from 1, without the 0 at the end.

    Args:
        schedule: a key of FLOW_SCHEDULES.
        scheduler_config: the model's own.
        options: `Family.schedule_options`: `sigmas` before the shift, and `mu`, the logarithm of the shift.
    """
    if lay := FLOW_SCHEDULES[schedule]:
        options = options | {"sigmas": lay(steps)}
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler_config)
    scheduler.set_timesteps(steps, **options)
    return scheduler.sigmas[:-1].double().numpy()
