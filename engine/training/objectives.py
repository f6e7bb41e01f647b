"""What the model is asked to predict: pure functions of latents, noise and the noise schedule.

Tensors are (B, C, h, w); `alphas` is the cumulative product of the schedule, (T,); timesteps are integers (B,).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _signal(alphas: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Square roots of a_t and 1 - a_t, shaped (B, 1, 1, 1)."""
    alpha = alphas[timesteps].view(-1, 1, 1, 1)
    return alpha.sqrt(), (1 - alpha).sqrt()


def add_noise(latents: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor) -> Tensor:
    """x_t = sqrt(a_t) x + sqrt(1 - a_t) noise (Ho et al. 2020, equation 4)."""
    signal, spread = _signal(alphas, timesteps)
    return signal * latents + spread * noise


def epsilon_target(latents: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor) -> Tensor:
    """The noise itself (Ho et al. 2020, equation 14)."""
    return noise


def velocity_target(latents: Tensor, noise: Tensor, alphas: Tensor, timesteps: Tensor) -> Tensor:
    """v = sqrt(a_t) noise - sqrt(1 - a_t) x (Salimans & Ho 2022, section 4)."""
    signal, spread = _signal(alphas, timesteps)
    return signal * noise - spread * latents


TARGETS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]] = {
    "epsilon": epsilon_target,
    "v_prediction": velocity_target,
}
"""Prediction type as diffusers names it -> what the prediction is compared with."""


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each picture, (B,), in float32."""
    return (prediction.float() - target.float()).pow(2).flatten(1).mean(1)


def alphas_cumprod(scheduler_config: dict) -> Tensor:
    """The schedule's a_t, (T,) float32; diffusers knows every way of writing one, zero terminal SNR included."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(scheduler_config).alphas_cumprod.to(torch.float32)
