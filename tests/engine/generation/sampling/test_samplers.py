"""Samplers on pictures whose answer is known: how fast they come near it, and whether fresh noise keeps the distribution."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

from engine.config.choices import SAMPLERS_FOR, SCHEDULES_FOR
from engine.errors import ConfigError
from engine.generation.sampling.noise import PictureNoise
from engine.generation.sampling.samplers import FLOW_SAMPLERS, SAMPLERS, find_sampler
from tests.support.gaussian import MEAN, SPREAD, carried, clean, drive, flow_clean, moments

ORDERS = {"Euler": 1, "DDIM": 1, "Heun": 2, "DPM2": 2, "DPM++ 2M": 2, "UniPC": 2, "LMS": 3}
"""Samplers of the ODE -> how often the error is divided by 2 when steps are halved."""
NOISY_ORDERS = {"Euler a": 1, "DPM++ 2S a": 2, "DPM++ SDE": 2, "DPM++ 2M SDE": 2, "DPM++ 3M SDE": 2}
STEPS = 32, 64


def geometric(steps: int) -> list[float]:
    return torch.logspace(1, -1, steps + 1, dtype=torch.float64).tolist()


def no_noise() -> torch.Tensor:
    raise AssertionError("a sampler of the ODE has drawn noise")


def test_the_tables_have_exactly_the_names_the_page_offers():
    assert set(SAMPLERS) == set(SAMPLERS_FOR["epsilon"]) == set(SAMPLERS_FOR["v_prediction"])
    assert set(FLOW_SAMPLERS) == set(SAMPLERS_FOR["flow"])
    assert {*ORDERS, *NOISY_ORDERS, "LCM"} == set(SAMPLERS)


def test_automatic_means_what_automatic1111_means():
    automatic = {name: sampler.schedule for name, sampler in SAMPLERS.items() if sampler.schedule in SCHEDULES_FOR["epsilon"][1:]}
    karras = {"DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2"}
    assert {name for name, schedule in automatic.items() if schedule == "Karras"} == karras
    assert {name for name, schedule in automatic.items() if schedule == "Exponential"} == {"DPM++ 2M SDE", "DPM++ 3M SDE"}
    assert {name for name, sampler in SAMPLERS.items() if sampler.leaves_out} == {"DPM2", "DPM++ 3M SDE"}


@pytest.mark.parametrize("name", ORDERS)
def test_the_error_falls_with_the_order(name):
    latents = torch.tensor([5.0, -8.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    errors = []
    for steps in STEPS:
        levels = geometric(steps)
        ends = drive(SAMPLERS[name].start, latents, levels, no_noise)
        errors.append((ends - carried(latents, levels[0], levels[-1])).abs().max().item())
    assert errors[0] < 0.04
    assert math.log2(errors[0] / errors[1]) > ORDERS[name] - 0.5


@pytest.mark.parametrize("name", NOISY_ORDERS)
def test_fresh_noise_keeps_the_distribution(name):
    errors = []
    for steps in STEPS:
        levels = geometric(steps)
        mean, spread = moments(SAMPLERS[name].start, levels)
        assert mean == pytest.approx(MEAN, abs=1e-6)
        errors.append(abs(spread - (SPREAD**2 + levels[-1] ** 2) ** 0.5))
    assert errors[0] < 0.04
    assert math.log2(errors[0] / errors[1]) > NOISY_ORDERS[name] - 0.2


@pytest.mark.parametrize("name", [*NOISY_ORDERS, "LCM"])
def test_fresh_noise_forgets_the_start(name):
    one, other = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (-8.0, 8.0))
    ends = [drive(SAMPLERS[name].start, each, geometric(40), lambda: torch.zeros_like(one)) for each in (one, other)]
    assert (ends[0] - ends[1]).abs() < (carried(one, 10, 0.1) - carried(other, 10, 0.1)).abs() / 3


def test_the_noise_of_a_step_is_that_of_its_parts():
    """What DPM++ SDE adds in a step has the variance of one draw, and the half already seen is the larger part of it."""
    level, following = 8.0, 2.0
    drawn = iter((torch.ones(1), torch.zeros(1)))
    zero = torch.zeros(1)
    upper = drive(SAMPLERS["DPM++ SDE"].start, zero, [level, following], lambda: next(drawn), lambda latents, _: 0 * latents)
    drawn = iter((torch.zeros(1), torch.ones(1)))
    lower = drive(SAMPLERS["DPM++ SDE"].start, zero, [level, following], lambda: next(drawn), lambda latents, _: 0 * latents)
    assert (upper**2 + lower**2).item() == pytest.approx(following**2 * (1 - (following / level) ** 2))
    assert (upper**2 / lower**2).item() == pytest.approx((8**2 - 4**2) / (4**2 - 2**2))


def test_consistency_models_end_in_the_clean_picture():
    drawn = iter((torch.full((1,), 0.3),))
    end = drive(SAMPLERS["LCM"].start, torch.full((1,), 9.0), [10.0, 1.0, 0.0], lambda: next(drawn))
    assert torch.equal(end, clean(clean(torch.full((1,), 9.0), 10.0) + 0.3, 1.0))


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("Euler a", EulerAncestralDiscreteScheduler, {"prediction_type": "epsilon"}),
        ("DPM++ 2M SDE", DPMSolverMultistepScheduler, {"prediction_type": "sample", "algorithm_type": "sde-dpmsolver++"}),
    ],
)
def test_courses_of_our_own_are_diffusers(name, kind, options):
    """At the levels of diffusers' sampler and with noise from the same generators."""
    scheduler = kind(timestep_spacing="linspace", **options)
    scheduler.set_timesteps(9)
    levels = [float(level) for level in scheduler.sigmas]
    norms = [(1 + level**2) ** 0.5 if name == "DPM++ 2M SDE" else 1.0 for level in levels]
    noise, generators = PictureNoise((4, 4, 4), [7, 8], "cpu"), [torch.Generator().manual_seed(seed) for seed in (7, 8)]
    start = levels[0] * noise.first()
    theirs = levels[0] * torch.stack([torch.randn(4, 4, 4, generator=generator) for generator in generators])
    for call, (timestep, level) in enumerate(zip(scheduler.timesteps, levels, strict=False)):
        output = clean(theirs, level)
        if options["prediction_type"] == "epsilon":
            output = (theirs - output) / level
        stepped = scheduler.step(output, timestep, theirs / norms[call], generator=generators).prev_sample
        theirs = stepped * norms[call + 1]
    torch.testing.assert_close(drive(SAMPLERS[name].start, start, levels, noise.next), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FLOW_SAMPLERS)
def test_flows_end_in_the_same_picture(name):
    steps = 200
    levels = [1 - step / steps for step in range(steps + 1)]
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    if name == "Euler a":
        mean, spread = moments(FLOW_SAMPLERS[name].start, levels, flow_clean, level_spread=1.0)
        assert (mean, spread) == (pytest.approx(MEAN, abs=0.01), pytest.approx(SPREAD, abs=0.01))
        return
    ends = drive(FLOW_SAMPLERS[name].start, noise, levels, no_noise, flow_clean)
    assert (ends - (MEAN + SPREAD * noise)).abs().max() < (0.02 if name == "Euler" else 0.003)


def test_second_order_is_nearer_after_20_steps():
    levels = [1 - step / 20 for step in range(21)]
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    errors = {
        name: (drive(FLOW_SAMPLERS[name].start, noise, levels, no_noise, flow_clean) - (MEAN + SPREAD * noise)).abs().max()
        for name in ("Euler", "DPM++ 2M", "Heun", "UniPC")
    }
    assert all(errors[name] < errors["Euler"] / 3 for name in ("DPM++ 2M", "Heun", "UniPC"))


@pytest.mark.parametrize("table", [SAMPLERS, FLOW_SAMPLERS])
def test_levels_asked_for_fall_from_the_first(table):
    for sampler in table.values():
        course = sampler.start(torch.zeros(1, 1, 1, 1), [1.0, 0.5, 0.25, 0.0], lambda: torch.zeros(1))
        asked = [next(course)[0]]
        for _ in range(9):
            try:
                asked.append(course.send((torch.zeros(1, 1, 1, 1),) * 2)[0])
            except StopIteration:
                break
        assert asked[0] == 1.0 and all(one >= other > 0 for one, other in pairwise(asked))
        assert len(asked) in (3, 5)


def test_an_unknown_sampler_lists_the_nearest():
    with pytest.raises(ConfigError) as caught:
        find_sampler("DPM 2M", "epsilon", pure_noise=False)
    assert caught.value.code == "sampler.unknown"
    assert "DPM++ 2M" in str(caught.value)


def test_samplers_that_a_model_cannot_use_are_refused():
    for name in ("DDIM", "DPM++ 2M SDE"):
        with pytest.raises(ConfigError) as caught:
            find_sampler(name, "flow", pure_noise=False)
        assert caught.value.code == "sampler.flow" and "UniPC" in str(caught.value)
    for name in ("Heun", "DPM2", "LMS"):
        with pytest.raises(ConfigError) as caught:
            find_sampler(name, "v_prediction", pure_noise=True)
        assert caught.value.code == "sampler.zero_snr"
