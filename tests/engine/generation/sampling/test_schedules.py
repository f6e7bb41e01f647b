"""How the noise falls: closed forms, published numbers, and diffusers where it has the same schedule."""

import numpy as np
import pytest
from diffusers import DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler
from diffusers.schedulers import AysSchedules

from engine.config.choices import SCHEDULE_NAMES
from engine.generation.sampling.schedules import ALIGNED, SCHEDULES
from engine.generation.sampling.trained_levels import TrainedLevels

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
LEADING = dict(PNDMScheduler(**BETAS, skip_prk_steps=True, steps_offset=1).config)
TRAILING = dict(DDIMScheduler(**BETAS, timestep_spacing="trailing").config)
ZERO_SNR = dict(DDIMScheduler(**BETAS, timestep_spacing="trailing", rescale_betas_zero_snr=True).config)
SD = TrainedLevels(LEADING)
STEPS = (1, 2, 7, 20, 150)


def test_the_names_are_those_of_the_page():
    assert set(SCHEDULES) == {*SCHEDULE_NAMES[1:], "Own"}


def test_levels_of_stable_diffusion():
    """The lowest and the highest are known from the published samplers."""
    assert (SD.least, SD.most) == (pytest.approx(0.0292, abs=1e-4), pytest.approx(14.6146, abs=1e-3))
    assert TrainedLevels(ZERO_SNR).most == pytest.approx(4096, rel=1e-4)
    times = np.array([0, 0.5, 1, 500.25, 999])
    np.testing.assert_allclose(SD.timesteps(SD.at(times)), times, atol=1e-6)
    np.testing.assert_allclose(SD.at(np.arange(1000)), SD.levels)


@pytest.mark.parametrize("config", [LEADING, TRAILING, ZERO_SNR])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SCHEDULES)
def test_levels_fall_within_those_trained(name, steps, config):
    trained = TrainedLevels(config)
    levels = SCHEDULES[name](steps, trained)
    assert levels.shape == (steps,) and (np.diff(levels) < 0).all()
    assert levels[0] <= trained.most * 1.0001 and levels[-1] >= trained.least * 0.99
    if name not in ("Own", "Align Your Steps"):
        assert levels[0] == pytest.approx(trained.most)


@pytest.mark.parametrize("steps", STEPS[1:])
@pytest.mark.parametrize("name", ["Karras", "Exponential", "Polyexponential", "Uniform", "Normal", "Beta"])
def test_levels_end_at_the_lowest(name, steps):
    assert SCHEDULES[name](steps, SD)[-1] == pytest.approx(SD.least)


@pytest.mark.parametrize(("name", "option"), [("Karras", "karras"), ("Exponential", "exponential"), ("Beta", "beta")])
def test_diffusers_spaces_them_alike(name, option):
    scheduler = EulerDiscreteScheduler(**BETAS, **{f"use_{option}_sigmas": True})
    scheduler.set_timesteps(13)
    np.testing.assert_allclose(SCHEDULES[name](13, SD), scheduler.sigmas[:-1], rtol=1e-5)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_the_models_own_are_diffusers(spacing):
    config = {**BETAS, "timestep_spacing": spacing, "steps_offset": 1}
    scheduler = EulerDiscreteScheduler(**config)
    scheduler.set_timesteps(13)
    np.testing.assert_allclose(SCHEDULES["Own"](13, TrainedLevels(config)), scheduler.sigmas[:-1], rtol=1e-4)


def test_spacing_in_timesteps():
    def times(name, trained=SD):
        return SD.timesteps(SCHEDULES[name](5, trained)).round(3).tolist()

    assert times("Normal") == times("Uniform") == [999, 749.25, 499.5, 249.75, 0]
    assert times("Uniform", TrainedLevels(TRAILING)) == [999, 799, 599, 399, 199]
    assert times("SGM Uniform") == [999, 799.2, 599.4, 399.6, 199.8]
    assert times("Simple") == [999, 799, 599, 399, 199]
    assert times("Own") == [801, 601, 401, 201, 1]


def test_karras_in_closed_form():
    middle = SCHEDULES["Karras"](3, SD)[1]
    assert middle ** (1 / 7) == pytest.approx((SD.least ** (1 / 7) + SD.most ** (1 / 7)) / 2)


@pytest.mark.parametrize(("kin", "theirs"), [("sd1", "StableDiffusionSigmas"), ("sdxl", "StableDiffusionXLSigmas")])
def test_aligned_levels_are_the_published_ones(kin, theirs):
    assert list(ALIGNED[kin][:-1]) == AysSchedules[theirs][:-1]
    np.testing.assert_allclose(SCHEDULES["Align Your Steps"](11, TrainedLevels(LEADING, kin)), ALIGNED[kin])
    between = SCHEDULES["Align Your Steps"](21, TrainedLevels(LEADING, kin))
    np.testing.assert_allclose(between[1], (ALIGNED[kin][0] * ALIGNED[kin][1]) ** 0.5)
