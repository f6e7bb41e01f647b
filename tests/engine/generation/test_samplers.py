"""Samplers: names, per-picture noise, and an analytic problem whose answer is known."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler

from engine.config.choices import SAMPLER_NAMES, SAMPLERS_FOR
from engine.errors import ConfigError
from engine.generation.samplers import SAMPLERS, make_scheduler, noise, sampler_name, take_step
from engine.starter.architecture import make_scheduler as starter_scheduler

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
CONFIGS = {
    "v trailing": starter_scheduler().config,
    "epsilon of Stable Diffusion 1.5": PNDMScheduler(
        **BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, prediction_type="epsilon"
    ).config,
    "epsilon leading": DDIMScheduler(**BETAS, steps_offset=1, timestep_spacing="leading").config,
}
MEAN, SPREAD = 0.6, 0.5
FIRST_ORDER = {"Euler a": 0.04, "Euler": 0.02, "DDIM": 0.02}  # error of the spread at 100 steps; 0.012 for the second-order ones


def gaussian_model(prediction_type):
    """The exact model for latents distributed as N(MEAN, SPREAD^2): x_t = a x_0 + s noise, E[x_0 | x_t] in closed form."""
    alphas = DDIMScheduler(**BETAS).alphas_cumprod.double()
    log_sigmas = (((1 - alphas) / alphas) ** 0.5).log().numpy()

    def predict(sample, timestep):
        sigma = float(np.exp(np.interp(float(timestep), np.arange(1000), log_sigmas)))
        a = 1 / (1 + sigma**2) ** 0.5
        s = sigma * a
        clean = MEAN + a * SPREAD**2 / (a**2 * SPREAD**2 + s**2) * (sample - a * MEAN)
        epsilon = (sample - a * clean) / s
        return epsilon if prediction_type == "epsilon" else a * epsilon - s * clean

    return predict


def sample(name, config, model, shape, seeds, steps):
    scheduler = make_scheduler(name, config)
    scheduler.set_timesteps(steps)
    latents, generators = noise(shape, seeds)
    latents = latents * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = model(scheduler.scale_model_input(latents, timestep), timestep)
        latents = take_step(scheduler, output, timestep, latents, generators)
    return latents


def test_the_table_has_exactly_the_names_the_page_offers():
    assert ("Automatic", *SAMPLERS) == SAMPLER_NAMES
    assert tuple(SAMPLERS) == SAMPLERS_FOR["epsilon"] == SAMPLERS_FOR["v_prediction"]


@pytest.mark.parametrize(
    ("name", "schedule", "key"),
    [
        ("DPM++ 2M Karras", None, "DPM++ 2M Karras"),
        ("DPM++ 2M", "Karras", "DPM++ 2M Karras"),
        ("DPM++ 2M Karras", "karras", "DPM++ 2M Karras"),
        ("DPM++ 2M", "Automatic", "DPM++ 2M Karras"),
        ("DPM++ 2M", None, "DPM++ 2M"),
        ("euler A", "Automatic", "Euler a"),
    ],
)
def test_both_spellings_of_a_schedule(name, schedule, key):
    assert sampler_name(name, schedule) == key


def test_an_unknown_sampler_lists_the_nearest():
    with pytest.raises(ConfigError) as caught:
        make_scheduler("DPM 2M Karas", CONFIGS["v trailing"])
    assert caught.value.code == "sampler.unknown"
    assert "DPM++ 2M Karras" in str(caught.value)
    with pytest.raises(ConfigError, match="Euler a Karras"):
        sampler_name("Euler a", "Karras")


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_models_own_settings_are_kept(name):
    config = make_scheduler(name, CONFIGS["v trailing"]).config
    for key in (
        "prediction_type",
        "timestep_spacing",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "num_train_timesteps",
        "steps_offset",
    ):
        assert config[key] == CONFIGS["v trailing"][key]
    assert not config.get("clip_sample")


def test_a_sampler_that_lacks_zero_terminal_snr_is_refused():
    zero_snr = DDIMScheduler(
        **BETAS, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
    ).config
    with pytest.raises(ConfigError) as caught:
        make_scheduler("Heun", zero_snr)
    assert caught.value.code == "sampler.zero_snr"
    for name in ("Euler a", "DPM++ 2M Karras", "DDIM"):
        latents = sample(name, zero_snr, gaussian_model("v_prediction"), (4, 16, 16), [1], steps=10)
        assert torch.isfinite(latents).all()


def test_long_runs_start_from_the_noisiest_steps():
    for name in SAMPLERS:
        scheduler = make_scheduler(name, CONFIGS["epsilon leading"])
        scheduler.set_timesteps(150)
        assert scheduler.timesteps[0] > 890


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_gaussian_latents_come_out_with_their_mean_and_spread(name, config):
    model = gaussian_model(CONFIGS[config]["prediction_type"])
    latents = sample(name, CONFIGS[config], model, (4, 64, 64), [1, 2], steps=100)
    # the noise it starts from is not quite the last step's distribution, which costs 0.02 of the mean
    assert latents.mean().item() == pytest.approx(MEAN, abs=0.025)
    assert latents.std().item() == pytest.approx(SPREAD, abs=FIRST_ORDER.get(name, 0.012))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_batch_of_three_is_three_single_pictures(name):
    config, model = CONFIGS["v trailing"], gaussian_model("v_prediction")
    together = sample(name, config, model, (4, 16, 16), [7, 8, 9], steps=8)
    for index, seed in enumerate((7, 8, 9)):
        assert torch.equal(together[index], sample(name, config, model, (4, 16, 16), [seed], steps=8)[0])


def test_pictures_of_different_seeds_differ_and_ancestral_noise_is_each_ones_own():
    model = gaussian_model("v_prediction")
    fresh = sample("Euler a", CONFIGS["v trailing"], model, (4, 16, 16), [7, 7, 8], steps=8)
    assert torch.equal(fresh[0], fresh[1])
    assert not torch.allclose(fresh[0], fresh[2], atol=0.1)


def test_noise_is_drawn_in_float32_and_goes_on_from_the_same_generator():
    latents, (generator,) = noise((4, 8, 8), [5], dtype=torch.float16)
    reference = torch.Generator().manual_seed(5)
    assert torch.equal(latents[0], torch.randn(4, 8, 8, generator=reference).half())
    assert torch.equal(torch.randn(3, generator=generator), torch.randn(3, generator=reference))
