"""Noise and targets: closed forms at fixed timesteps, and diffusers' own scheduler as oracle."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler

from engine.training.objectives import TARGETS, add_noise, alphas_cumprod, squared_error

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
TIMESTEPS = torch.tensor([0, 1, 500, 999])


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 4, 5, 7, generator=generator), torch.randn(4, 4, 5, 7, generator=generator)


def expected_alpha(timestep: int) -> float:
    """Product of 1 - beta over a schedule whose square roots are evenly spaced (Rombach et al. 2022), in double precision."""
    product = 1.0
    for t in range(timestep + 1):
        root = 0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * t / 999
        product *= 1 - root**2
    return product


@pytest.mark.parametrize("timestep", TIMESTEPS.tolist())
def test_closed_form_at_fixed_timesteps(timestep: int) -> None:
    alphas, at, alpha = alphas_cumprod(CONFIG), torch.tensor([timestep]), expected_alpha(timestep)
    x, noise = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), -2.0)
    assert alphas[timestep].item() == pytest.approx(alpha, abs=1e-6)
    assert add_noise(x, noise, alphas, at).item() == pytest.approx(alpha**0.5 * 0.5 - (1 - alpha) ** 0.5 * 2, abs=1e-6)
    assert TARGETS["epsilon"](x, noise, alphas, at).item() == -2
    assert TARGETS["v_prediction"](x, noise, alphas, at).item() == pytest.approx(
        -(alpha**0.5) * 2 - (1 - alpha) ** 0.5 * 0.5, abs=1e-6
    )


@pytest.mark.parametrize("more", [{}, {"rescale_betas_zero_snr": True}, {"beta_schedule": "linear"}])
def test_equal_to_diffusers(more: dict) -> None:
    scheduler, alphas = DDPMScheduler(**{**CONFIG, **more}), alphas_cumprod({**CONFIG, **more})
    x, noise = drawn(0)
    assert torch.equal(add_noise(x, noise, alphas, TIMESTEPS), scheduler.add_noise(x, noise, TIMESTEPS))  # type: ignore[arg-type]
    velocity = TARGETS["v_prediction"](x, noise, alphas, TIMESTEPS)
    assert torch.equal(velocity, scheduler.get_velocity(x, noise, TIMESTEPS))  # type: ignore[arg-type]


def test_velocity_and_noisy_latents_together_give_both_back() -> None:
    alphas, (x, noise) = alphas_cumprod(CONFIG), drawn(1)
    noisy, v = add_noise(x, noise, alphas, TIMESTEPS), TARGETS["v_prediction"](x, noise, alphas, TIMESTEPS)
    alpha = alphas[TIMESTEPS].view(-1, 1, 1, 1)
    assert torch.allclose(alpha.sqrt() * noisy - (1 - alpha).sqrt() * v, x, atol=1e-5)
    assert torch.allclose((1 - alpha).sqrt() * noisy + alpha.sqrt() * v, noise, atol=1e-5)


def test_error_is_each_pictures_own_mean_in_float32() -> None:
    prediction = torch.zeros(2, 4, 2, 2, dtype=torch.bfloat16)
    target = torch.stack([torch.full((4, 2, 2), 3.0), torch.full((4, 2, 2), 0.001)])
    error = squared_error(prediction, target)
    assert error.dtype == torch.float32
    assert error.tolist() == pytest.approx([9, 1e-6])
