"""The way from noise to clean latents: through which levels, by which sampler, and what is known at each call of the denoiser.

Noisy latents are picture + level * noise; for flow matching (1 - level) * picture + level * noise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.config.choices import SCHEDULES_FOR, split_sampler
from engine.errors import ConfigError
from engine.generation.sampling.course import Course
from engine.generation.sampling.flow_levels import flow_levels
from engine.generation.sampling.noise import PictureNoise
from engine.generation.sampling.samplers import Sampler, find_sampler
from engine.generation.sampling.schedules import SCHEDULES
from engine.generation.sampling.trained_levels import TrainedLevels


class Walk:
    """One run of a sampler, from first to last call; calls count from 0.

    Args:
        levels: (steps + 1) noise levels, falling to 0.
        prediction: what the model predicts, key of `engine.config.choices.SAMPLERS_FOR`.
        trained: what turns levels into timesteps; for flows how many there are.

    Attributes:
        steps: those walked.
        levels: (calls + 1) noise levels, one per call and the 0 at the end.
        timesteps: (calls,) float32, what the model is told.
    """

    def __init__(
        self, sampler: Sampler, levels: Sequence[float], prediction: str, device: torch.device | str, trained: TrainedLevels | int
    ) -> None:
        self._sampler, self._levels, self._prediction = sampler, levels, prediction
        self.steps = len(levels) - 1
        self.levels = [*_levels_of_calls(sampler, levels), 0.0]
        seen = np.array(self.levels[:-1])
        told = trained.timesteps(seen) if isinstance(trained, TrainedLevels) else seen * trained
        self.timesteps = torch.tensor(told, dtype=torch.float32, device=device)
        self._course: Course | None = None

    @property
    def calls(self) -> int:
        """Calls of the denoiser; samplers that look twice make two a step, and one in the last."""
        return len(self.levels) - 1

    def step_of(self, call: int) -> int:
        """The step a call belongs to, from 1."""
        return call // (2 if self.calls > self.steps else 1) + 1

    def begin(self, noise: Tensor, latents: Tensor | None = None) -> Tensor:
        """What the first call sees: unit noise (B, C, h, w) at the first level, or clean latents under so much noise."""
        level = self.levels[0]
        if latents is not None:
            return self._noised(latents, noise, level)
        return ((1 + level**2) ** 0.5 if self._sampler.fills else level) * noise

    def noised(self, clean: Tensor, noise: Tensor, call: int) -> Tensor:
        """Clean latents at the level that follows a call."""
        return self._noised(clean, noise, self.levels[call + 1])

    def _noised(self, clean: Tensor, noise: Tensor, level: float) -> Tensor:
        return (1 - level if self._prediction == "flow" else 1) * clean + level * noise

    def model_input(self, latents: Tensor, call: int) -> Tensor:
        """Latents as the model saw them in training: of unit variance, but for flows."""
        return latents if self._prediction == "flow" else latents / (1 + self.levels[call] ** 2) ** 0.5

    def picture(self, output: Tensor, call: int, latents: Tensor) -> Tensor:
        """The clean latents that the model's output for `model_input(latents, call)` means.

        v is noise / n - level * picture / n with n = (1 + level^2)^(1/2) (Salimans & Ho 2022, appendix D).
        """
        level = self.levels[call]
        if self._prediction == "v_prediction":
            square = 1 + level**2
            return latents / square - level / square**0.5 * output
        return latents - level * output

    def advance(self, output: Tensor, call: int, latents: Tensor, noise: PictureNoise) -> Tensor:
        """The latents (B, C, h, w) that the next call sees, or the clean ones after the last.

        Args:
            output: what the model predicts for `model_input(latents, call)`, (B, C, h, w) float32.
            noise: where samplers take fresh noise from.
        """
        if call == 0:
            self._course = self._sampler.start(latents, self._levels, noise.next)
            next(self._course)
        try:
            return self._course.send((latents, self.picture(output, call, latents)))[1]
        except StopIteration as end:
            return end.value


def _levels_of_calls(sampler: Sampler, levels: Sequence[float]) -> list[float]:
    """Where a sampler will look, (calls,): it is walked once over nothing."""
    nothing = torch.zeros(1, 1, 1, 1)
    course = sampler.start(nothing, levels, lambda: nothing)
    seen, asked = [], next(course)
    while True:
        seen.append(asked[0])
        try:
            asked = course.send((nothing, nothing))
        except StopIteration:
            return seen


def make_walk(
    sampler: str, schedule: str, scheduler_config: Mapping[str, Any], prediction: str, steps: int, device: torch.device | str,
    *, denoising: float | None = None, **schedule_options: Any,
) -> Walk:  # fmt: skip
    """The walk of one pass.

    Args:
        sampler: by AUTOMATIC1111's name; that of a schedule may be a part of it.
        schedule: by AUTOMATIC1111's name; "Automatic" is what suits the sampler.
        scheduler_config: the model's own (`Family.scheduler_config`).
        prediction: what the model predicts, key of `engine.config.choices.SAMPLERS_FOR`.
        denoising: above 0, to 1: how much of the way is walked, from latents under as much noise. None: all, from noise alone.
        schedule_options: `Family.schedule_options`.

    Raises:
        ConfigError: `sampler.unknown`, `sampler.flow`, `sampler.zero_snr`, `schedule.unknown`, `schedule.flow`.
    """
    name, own = split_sampler(sampler)
    schedule = own or schedule
    flow = prediction == "flow"
    found = find_sampler(name, prediction, bool(scheduler_config.get("rescale_betas_zero_snr")))
    _check_schedule(schedule, prediction)
    chosen = found.schedule if schedule == "Automatic" else schedule
    laid = steps + found.leaves_out
    if flow:
        trained: TrainedLevels | int = scheduler_config.get("num_train_timesteps", 1000)
        levels = flow_levels(chosen, scheduler_config, laid, **schedule_options)
    else:
        trained = TrainedLevels(scheduler_config, **schedule_options)
        levels = SCHEDULES[chosen](laid, trained)
    if found.leaves_out:
        levels = levels[:-1]
    first = 0 if denoising is None else steps - walked_steps(denoising, steps)
    return Walk(found, [*levels[first:].tolist(), 0.0], prediction, device, trained)


def walked_steps(denoising: float, steps: int) -> int:
    """Of so many steps, those walked from a picture: AUTOMATIC1111's rule, by which 1 walks all."""
    return min(int(min(denoising, 0.999) * steps) + 1, steps)


def _check_schedule(schedule: str, prediction: str) -> None:
    known = SCHEDULES_FOR[prediction]
    if schedule not in known:
        shown = ", ".join(known)
        flow = prediction == "flow" and schedule in SCHEDULES
        what = "cannot be walked with a flow, which is what this model predicts" if flow else "is unknown"
        raise ConfigError(
            "schedule.flow" if flow else "schedule.unknown", f"The schedule {schedule!r} {what}.", f"One of {shown}.",
            "Choose Automatic.", field="schedule", value=schedule, known=shown,
        )  # fmt: skip
