"""The noise levels of flow matching: the model's own, moved as its schedule says."""

import math

import numpy as np
import pytest
from diffusers import FlowMatchEulerDiscreteScheduler
from scipy.stats import beta

from engine.config.choices import SCHEDULES_FOR
from engine.generation.sampling.flow_levels import FLOW_SCHEDULES, even_levels, flow_levels

SHIFTED = FlowMatchEulerDiscreteScheduler(shift=3.0).config
DYNAMIC = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True).config


def shifted(level):
    return 3 * level / (1 + 2 * level)


def test_the_names_are_those_of_the_page():
    assert {*FLOW_SCHEDULES} == {"Uniform", *SCHEDULES_FOR["flow"][1:]}


def test_levels_are_the_models_own():
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(SHIFTED)
    scheduler.set_timesteps(5)
    np.testing.assert_allclose(flow_levels("Uniform", SHIFTED, 5), scheduler.sigmas[:-1])
    fixed = flow_levels("Uniform", SHIFTED, 4, sigmas=even_levels(4))
    np.testing.assert_allclose(fixed, [1.0, 0.9, 0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(flow_levels("Uniform", DYNAMIC, 4, sigmas=even_levels(4), mu=math.log(3.0)), fixed, rtol=1e-6)


@pytest.mark.parametrize(("config", "options"), [(SHIFTED, {}), (DYNAMIC, {"sigmas": even_levels(4), "mu": math.log(3.0)})])
def test_schedules_lie_before_the_shift(config, options):
    np.testing.assert_allclose(flow_levels("Simple", config, 4, **options), shifted(np.array(even_levels(4))), rtol=1e-6)
    quantiles = beta.ppf([1, 0.75, 0.5, 0.25], 0.6, 0.6)
    np.testing.assert_allclose(flow_levels("Beta", config, 4, **options), shifted(quantiles), rtol=1e-6)


@pytest.mark.parametrize("name", FLOW_SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 28, 150])
def test_levels_fall_from_1(name, steps):
    levels = flow_levels(name, SHIFTED, steps)
    assert levels.shape == (steps,) and levels[0] == 1 and (np.diff(levels) < 0).all() and levels[-1] > 0
