"""Samplers of flow matching models (SD3, FLUX, Z-Image), which run from noise to picture on straight lines.

A noisy picture is (1 - level) * picture + level * noise, and the model predicts noise - picture. All samplers take the same
noise levels: the model's own, shifted as its schedule says (Esser et al. 2024, section 5.3.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

HIGHEST = 1 - 1e-6
"""The level UniPC starts from: it takes the logarithm of how much picture there is."""
_MULTISTEP = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_order": 2}


class FlowEulerAncestralScheduler(FlowMatchEulerDiscreteScheduler):
    """An Euler step to below the next noise level, then fresh noise up to it, so that every level keeps its distribution."""

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        generator: list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> tuple[Tensor]:
        if self.step_index is None:
            self._init_step_index(timestep)
        level, following = (float(value) for value in self.sigmas[self.step_index : self.step_index + 2])
        self._step_index += 1
        picture = sample - level * model_output
        if following == 0:
            return (picture,)
        below = following**2 / level
        lower = picture + below * model_output
        # Scaled to as much picture as the next level has, it lacks noise: variances add up.
        share = (1 - following) / (1 - below)
        fresh = (following**2 - (share * below) ** 2) ** 0.5
        noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
        return (share * lower + fresh * noise,)


FLOW_SAMPLERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Euler": (FlowMatchEulerDiscreteScheduler, {}),
    "Euler a": (FlowEulerAncestralScheduler, {}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, {"algorithm_type": "dpmsolver++", **_MULTISTEP}),
    "Heun": (FlowMatchHeunDiscreteScheduler, {}),
    "UniPC": (UniPCMultistepScheduler, _MULTISTEP),
}
"""Sampler -> its scheduler class and settings; the names are those of `engine.config.choices.SAMPLERS_FOR["flow"]`."""


def walks_flow(scheduler: Any) -> bool:
    """Whether a scheduler is one of FLOW_SAMPLERS, as they are made."""
    own = (FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler)
    return isinstance(scheduler, own) or scheduler.config.get("prediction_type") == "flow_prediction"


def even_levels(steps: int) -> list[float]:
    """Levels in equal steps from 1 to 0, the last left out; before the shift."""
    return [1 - step / steps for step in range(steps)]


def flow_levels(scheduler_config: Mapping[str, Any], steps: int, **options: Any) -> Tensor:
    """The noise levels of a run: (steps + 1,) float32, from 1 down to 0.

    Args:
        scheduler_config: the model's own.
        options: `Family.schedule_options`: `sigmas` before the shift, and `mu`, the logarithm of the shift.
    """
    schedule = FlowMatchEulerDiscreteScheduler.from_config(scheduler_config)
    schedule.set_timesteps(steps, **options)
    return schedule.sigmas


def set_flow_steps(
    scheduler: Any, scheduler_config: Mapping[str, Any], steps: int, device: torch.device | str, **options: Any
) -> None:
    """Lay out the levels of `flow_levels` in a sampler of FLOW_SAMPLERS."""
    if scheduler.config.get("prediction_type"):
        # Multistep samplers extrapolate over the logarithm of the level, where SD3's own last level lies too far from the others.
        options = {"sigmas": even_levels(steps)} | options
    levels = flow_levels(scheduler_config, steps, **options)
    scheduler.set_timesteps(steps, device=device)
    if isinstance(scheduler, UniPCMultistepScheduler):
        levels = levels.clamp(max=HIGHEST)
    timesteps = levels[:-1] * scheduler.config.num_train_timesteps
    if scheduler.order == 2:  # it looks at every level twice, but for the first and the last
        levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
        timesteps = torch.cat([timesteps[:1], timesteps[1:].repeat_interleave(2)])
    # The classes would round timesteps down and space the levels each in its own way.
    scheduler.sigmas, scheduler.timesteps = levels, timesteps.to(device)
