"""The noise levels that a diffusion model was trained on, and which of them a timestep is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from diffusers import DDIMScheduler

ALMOST_NOTHING = 2**-24
"""How much picture is left at the last timestep of a model trained to start from pure noise, in place of none (as diffusers has it)."""


class TrainedLevels:
    """A noisy picture is picture + level * noise; level^2 = (1 - a) / a, where a is the cumulative product of 1 - beta.

    Args:
        scheduler_config: the model's own, as diffusers writes it.
        kin: whose levels of "Align Your Steps" it takes, key of `schedules.ALIGNED`.

    Attributes:
        levels: (T,) float64, rising; the level of each timestep.
        spacing: "leading", "linspace" or "trailing": where the model likes its timesteps (Lin et al. 2023, table 2).
        offset: added to "leading" timesteps.
    """

    def __init__(self, scheduler_config: Mapping[str, Any], kin: str = "sd1") -> None:
        scheduler = DDIMScheduler.from_config(scheduler_config)
        kept = scheduler.alphas_cumprod.double().numpy().clip(min=ALMOST_NOTHING)
        self.levels: np.ndarray = ((1 - kept) / kept) ** 0.5
        self.spacing: str = scheduler.config.timestep_spacing
        self.offset: int = scheduler.config.steps_offset
        self.kin = kin

    @property
    def least(self) -> float:
        return float(self.levels[0])

    @property
    def most(self) -> float:
        return float(self.levels[-1])

    def at(self, timesteps: np.ndarray) -> np.ndarray:
        """Levels of timesteps, which may lie between two: their logarithms are interpolated."""
        return np.exp(np.interp(timesteps, np.arange(len(self.levels)), np.log(self.levels)))

    def timesteps(self, levels: np.ndarray) -> np.ndarray:
        """Timesteps of levels above 0; the inverse of `at`."""
        return np.interp(np.log(levels), np.log(self.levels), np.arange(len(self.levels)))
