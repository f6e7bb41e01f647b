"""Samplers of flow matching: the model's own noise levels, and a velocity field whose end is known."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from engine.config.choices import SAMPLERS_FOR
from engine.errors import ConfigError
from engine.generation.flow_samplers import FLOW_SAMPLERS, even_levels, flow_levels
from engine.generation.samplers import make_scheduler, noise, set_steps, take_step

SHIFTED = FlowMatchEulerDiscreteScheduler(shift=3.0).config
DYNAMIC = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True).config
MEAN, SPREAD = 0.6, 0.5


def velocity(noisy: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """E[noise - picture | noisy] for pictures distributed as N(MEAN, SPREAD^2): its flow takes noise n to MEAN + SPREAD * n."""
    level = float(timestep) / 1000
    variance = ((1 - level) * SPREAD) ** 2 + level**2
    surplus = (noisy - (1 - level) * MEAN) / variance
    return level * surplus - MEAN - (1 - level) * SPREAD**2 * surplus


def sample(name, steps, seeds=(1, 2), shape=(4, 32, 32), config=SHIFTED, field=velocity, **options):
    scheduler = make_scheduler(name, config, "flow")
    set_steps(scheduler, config, steps, **options)
    latents, generators = noise(shape, list(seeds))
    start = latents
    for timestep in scheduler.timesteps:
        latents = take_step(scheduler, field(latents, timestep), timestep, latents, generators)
    return start, latents


def test_the_table_has_exactly_the_names_the_page_offers():
    assert tuple(FLOW_SAMPLERS) == SAMPLERS_FOR["flow"]


def test_levels_are_the_models_own():
    fixed = flow_levels(SHIFTED, 4, sigmas=even_levels(4))
    assert torch.allclose(fixed, torch.tensor([1.0, 0.9, 0.75, 0.5, 0.0]))
    assert torch.allclose(flow_levels(DYNAMIC, 4, sigmas=even_levels(4), mu=math.log(3.0)), fixed)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_every_sampler_tells_the_model_the_levels_it_walks(name):
    scheduler = make_scheduler(name, DYNAMIC, "flow")
    options = {"sigmas": even_levels(6), "mu": 0.7}
    set_steps(scheduler, DYNAMIC, 6, **options)
    told = scheduler.timesteps.unique() / 1000
    assert torch.allclose(told, flow_levels(DYNAMIC, 6, **options)[:-1].flip(0), atol=2e-6)


@pytest.mark.parametrize(
    ("name", "steps", "tolerance"), [("Euler", 400, 0.02), ("DPM++ 2M", 240, 0.005), ("Heun", 60, 0.002), ("UniPC", 240, 0.002)]
)
def test_samplers_without_noise_end_in_the_same_picture(name, steps, tolerance):
    start, latents = sample(name, steps)
    assert (latents - (MEAN + SPREAD * start)).abs().max() < tolerance


def test_second_order_is_nearer_after_20_steps():
    errors = {}
    for name in ("Euler", "DPM++ 2M", "Heun", "UniPC"):
        start, latents = sample(name, 20)
        errors[name] = (latents - (MEAN + SPREAD * start)).abs().max()
    assert all(errors[name] < errors["Euler"] / 3 for name in ("DPM++ 2M", "Heun", "UniPC"))


def test_fresh_noise_keeps_the_distribution():
    start, latents = sample("Euler a", 300, shape=(4, 64, 64))
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert latents.std().item() == pytest.approx(SPREAD, abs=0.01)
    assert torch.corrcoef(torch.stack([start.flatten(), latents.flatten()]))[0, 1].abs() < 0.05


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_one_step_goes_to_the_expected_picture(name):
    start, latents = sample(name, 1)
    assert torch.allclose(latents, start - velocity(start, torch.tensor(1000.0)), atol=1e-5)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_a_batch_is_its_single_pictures(name):
    _, together = sample(name, 5, seeds=(7, 8))
    for index, seed in enumerate((7, 8)):
        assert torch.equal(together[index], sample(name, 5, seeds=(seed,))[1][0])


def test_samplers_of_other_schedules_are_refused():
    for name in ("DDIM", "DPM++ 2M Karras"):
        with pytest.raises(ConfigError) as caught:
            make_scheduler(name, SHIFTED, "flow")
        assert caught.value.code == "sampler.flow"
        assert "UniPC" in str(caught.value)
