"""How the noise falls from step to step (schedule types), by AUTOMATIC1111's names.

Each takes the number of steps and the levels the model was trained on, and gives one level per step, falling, without the 0 at
the end. New ones are one function and one line in SCHEDULES, and their name in `engine.config.choices`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.stats import beta

from engine.generation.sampling.trained_levels import TrainedLevels

RHO = 7.0
"""Karras et al. 2022: the larger, the more steps lie at low noise."""
BETA = 0.6, 0.6
"""Lee et al. 2024: steps crowd at both ends."""
ALIGNED: dict[str, tuple[float, ...]] = {
    "sd1": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029),
    "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029),
}
"""Sabour et al. 2024: levels found best for ten steps, by the model they were sought for."""


def karras(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Karras et al. 2022, equation 5: even in level^(1/rho)."""
    return np.linspace(trained.most ** (1 / RHO), trained.least ** (1 / RHO), steps) ** RHO


def exponential(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Even in the logarithm of the level. With its usual exponent of 1, "Polyexponential" is the same."""
    return np.geomspace(trained.most, trained.least, steps)


def normal(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Even in timesteps, from the last to the first."""
    return trained.at(np.linspace(len(trained.levels) - 1, 0, steps))


def uniform(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Even in timesteps: "trailing" where the model was made for it, so that all of its steps tell something; else as `normal`."""
    return own(steps, trained) if trained.spacing == "trailing" else normal(steps, trained)


def own(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Even in timesteps, spaced as the model's config says (Lin et al. 2023, table 2)."""
    count, step = len(trained.levels), np.arange(steps)
    if trained.spacing == "trailing":
        return trained.at(np.round(count - step * count / steps) - 1)
    if trained.spacing == "leading":
        return trained.at(step[::-1] * (count // steps) + trained.offset)
    return normal(steps, trained)


def sgm_uniform(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Even in timesteps from the last to the first, which is left out: from there it goes to 0 at once."""
    return trained.at(np.linspace(len(trained.levels) - 1, 0, steps + 1)[:-1])


def simple(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Every T/steps-th of the trained levels, counted from the noisiest, rounded towards it."""
    count = len(trained.levels)
    return trained.levels[count - 1 - np.arange(steps) * count // steps]


def beta_spaced(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Lee et al. 2024: quantiles of the beta distribution, here of the level between the lowest and the highest."""
    return trained.least + beta.ppf(np.linspace(1, 0, steps), *BETA) * (trained.most - trained.least)


def align_your_steps(steps: int, trained: TrainedLevels) -> np.ndarray:
    """Sabour et al. 2024: ALIGNED, interpolated in the logarithm of the level for other numbers of steps."""
    found = np.log(ALIGNED[trained.kin])
    return np.exp(np.interp(np.linspace(0, 1, steps), np.linspace(0, 1, len(found)), found))


SCHEDULES: dict[str, Callable[[int, TrainedLevels], np.ndarray]] = {
    "Karras": karras,
    "Exponential": exponential,
    "Polyexponential": exponential,
    "SGM Uniform": sgm_uniform,
    "Uniform": uniform,
    "Simple": simple,
    "Normal": normal,
    "Beta": beta_spaced,
    "Align Your Steps": align_your_steps,
    "Own": own,
}
"""Schedule -> its function; the names are those of `engine.config.choices.SCHEDULE_NAMES` but Automatic, and DDIM's "Own"."""
