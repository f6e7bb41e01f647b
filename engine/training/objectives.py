"""What the model is asked to predict: noise levels, noisy latents and the target.

Tensors are (B, C, h, w); `alphas` is the cumulative product of the schedule, (T,); timesteps are integers (B,); sigmas are noise
levels (B,) from 0 (picture) to 1 (noise).
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


class Diffusion:
    """Predicting noise or velocity at the discrete timesteps of a schedule (Ho et al. 2020; Salimans & Ho 2022).

    Args:
        prediction: a key of TARGETS.
    """

    def __init__(self, scheduler_config: dict, prediction: str, device: torch.device) -> None:
        self.alphas = alphas_cumprod(scheduler_config).to(device)
        self.prediction = prediction

    def draw(self, generator: torch.Generator, shift: float) -> Tensor:
        """A timestep for one picture, ()."""
        return torch.randint(len(self.alphas), (), generator=generator)

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return add_noise(latents, noise, self.alphas, times)

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return TARGETS[self.prediction](latents, noise, self.alphas, times)

    def levels(self, times: Tensor) -> Tensor:
        """How noisy each picture is, from 0 (clean) to 1 (noise)."""
        return times / len(self.alphas)

    def timesteps(self, times: Tensor) -> Tensor:
        """What the model is told."""
        return times

    def at(self, level: float) -> Tensor:
        """The time of a picture as noisy as this, ()."""
        return torch.tensor(int(level * len(self.alphas)), device=self.alphas.device)


class Flow:
    """Predicting the velocity of the straight line from picture to noise: rectified flow (Liu et al. 2022; Esser et al. 2024).

    Args:
        sampling: "uniform", or "sigmoid": the logit-normal distribution (Esser et al. 2024, equation 19, m = 0, s = 1).
    """

    def __init__(self, sampling: str) -> None:
        self.sampling = sampling

    def draw(self, generator: torch.Generator, shift: float) -> Tensor:
        """A noise level for one picture, (), moved towards noise by `shift` (Esser et al. 2024, equation 23)."""
        if self.sampling == "uniform":
            sigma = torch.rand((), generator=generator)
        else:
            sigma = torch.randn((), generator=generator).sigmoid()
        return shift * sigma / (1 + (shift - 1) * sigma)

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        sigma = times.view(-1, 1, 1, 1)
        return (1 - sigma) * latents + sigma * noise

    def target(self, latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        return noise - latents

    def levels(self, times: Tensor) -> Tensor:
        return times

    def timesteps(self, times: Tensor) -> Tensor:
        return times * 1000

    def at(self, level: float) -> Tensor:
        return torch.tensor(level)


def alphas_cumprod(scheduler_config: dict) -> Tensor:
    """The schedule's a_t, (T,) float32; diffusers knows every way of writing one, zero terminal SNR included."""
    from diffusers import DDPMScheduler

    return DDPMScheduler.from_config(scheduler_config).alphas_cumprod.to(torch.float32)
