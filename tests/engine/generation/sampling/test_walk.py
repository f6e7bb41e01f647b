"""Whole walks with a perfect model: every sampler by every schedule, alone and in a batch, from noise and from a picture."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, PNDMScheduler

from engine.config.choices import SAMPLERS_FOR, SCHEDULES_FOR
from engine.errors import ConfigError
from engine.generation.sampling.noise import PictureNoise
from engine.generation.sampling.walk import Walk, make_walk, walked_steps
from engine.starter.architecture import make_scheduler
from tests.support.gaussian import MEAN, SPREAD, model_output, walk_all

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
CONFIGS = {
    "epsilon": dict(PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1).config),
    "v_prediction": dict(make_scheduler().config),
    "flow": dict(FlowMatchEulerDiscreteScheduler(shift=3.0).config),
}
ZERO_SNR = dict(
    DDIMScheduler(**BETAS, prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True).config
)
PAIRS = [(name, prediction) for prediction in CONFIGS for name in SAMPLERS_FOR[prediction]]
TWICE = {"Heun", "DPM2", "DPM++ SDE", "DPM++ 2S a"}
SHAPE = (4, 16, 16)


def walk_of(name: str, prediction: str, steps: int = 8, schedule: str = "Automatic", **options) -> Walk:
    return make_walk(name, schedule, CONFIGS[prediction], prediction, steps, "cpu", **options)


def noise_of(*seeds: int, shape: tuple[int, ...] = SHAPE) -> PictureNoise:
    return PictureNoise(shape, seeds, "cpu")


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
def test_every_schedule_brings_out_the_pictures(name, prediction):
    for schedule in SCHEDULES_FOR[prediction]:
        walk = walk_of(name, prediction, 40, schedule)
        latents = walk_all(walk, noise_of(1, 2, shape=(4, 32, 32)), prediction)
        # the noise it starts from is not quite the last step's distribution, which costs 0.02 of the mean
        assert latents.mean().item() == pytest.approx(MEAN, abs=0.03)
        # 40 steps are few where they all lie at high noise, and pictures of a consistency model are none of these
        assert latents.std().item() == pytest.approx(SPREAD, abs=0.2 if name == "LCM" else 0.15), schedule


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
def test_a_batch_is_its_single_pictures(name, prediction):
    together = walk_all(walk_of(name, prediction), noise_of(7, 8, 9), prediction)
    for index, seed in enumerate((7, 8, 9)):
        assert torch.equal(together[index], walk_all(walk_of(name, prediction), noise_of(seed), prediction)[0])


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
@pytest.mark.parametrize("steps", [1, 6])
def test_calls_and_the_steps_they_belong_to(name, prediction, steps):
    walk = walk_of(name, prediction, steps)
    each = 2 if name in TWICE else 1
    assert (walk.steps, walk.calls) == (steps, each * steps - (each - 1))
    assert walk.timesteps.shape == (walk.calls,) and (walk.timesteps.diff() <= 0).all()
    of = [walk.step_of(call) for call in range(walk.calls)]
    assert of == [step for step in range(1, steps + 1) for _ in range(each)][: walk.calls]


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
def test_one_step_goes_to_the_expected_picture(name, prediction):
    walk, noise = walk_of(name, prediction, 1), noise_of(3)
    latents = walk.begin(noise.first())
    output = model_output(walk, 0, latents, prediction)
    end = walk.advance(output, 0, latents, noise)
    torch.testing.assert_close(end, walk.picture(output, 0, latents), rtol=1e-4, atol=1e-4)


def test_timesteps_are_the_models():
    assert walk_of("Euler", "epsilon", 5).timesteps.tolist() == pytest.approx([999, 749.25, 499.5, 249.75, 0], abs=1e-3)
    assert walk_of("Euler", "v_prediction", 5).timesteps.tolist() == pytest.approx([999, 799, 599, 399, 199], abs=1e-3)
    assert walk_of("DDIM", "epsilon", 5).timesteps.tolist() == pytest.approx([801, 601, 401, 201, 1], abs=1e-3)
    levels = walk_of("Heun", "flow", 3, "Simple").timesteps
    assert levels.tolist() == pytest.approx([1000, 6000 / 7, 6000 / 7, 600, 600], abs=1e-2)


def test_a_schedule_may_be_part_of_the_name():
    one, other = walk_of("DPM++ 2M Karras", "epsilon"), walk_of("DPM++ 2M", "epsilon", schedule="Karras")
    assert (
        one.levels
        == other.levels
        == walk_of("DPM++ 2M", "epsilon").levels
        != walk_of("DPM++ 2M", "epsilon", schedule="Uniform").levels
    )


def test_levels_of_align_your_steps_are_those_of_the_models_kin():
    one, other = (walk_of("Euler", "epsilon", 10, "Align Your Steps", kin=kin) for kin in ("sd1", "sdxl"))
    assert one.levels != other.levels


@pytest.mark.parametrize("prediction", CONFIGS)
def test_a_level_is_noised_to_and_undone(prediction):
    walk, noise = walk_of("Euler", prediction, 6), noise_of(3).first()
    picture = MEAN + SPREAD * noise_of(4).first()
    for call in range(walk.calls - 1):
        noisy = walk.noised(picture, noise, call)
        level = walk.levels[call + 1]
        expected = (1 - level) * picture + level * noise if prediction == "flow" else picture + level * noise
        assert torch.equal(noisy, expected)
        output = {"flow": noise - picture, "epsilon": noise}.get(prediction, (noise - level * picture) / (1 + level**2) ** 0.5)
        torch.testing.assert_close(walk.picture(output, call + 1, noisy), picture, rtol=1e-4, atol=1e-4)
    assert torch.equal(walk.noised(picture, noise, walk.calls - 1), picture)


@pytest.mark.parametrize(("denoising", "steps"), [(1.0, 20), (0.999, 20), (0.75, 16), (0.5, 11), (0.04, 1), (0.01, 1)])
def test_a_part_of_the_way_by_automatic1111s_rule(denoising, steps):
    assert walked_steps(denoising, 20) == steps
    for name, prediction in (("Euler", "epsilon"), ("DPM2", "epsilon"), ("Heun", "flow")):
        whole, part = walk_of(name, prediction, 20), walk_of(name, prediction, 20, denoising=denoising)
        assert part.steps == steps
        assert part.levels == whole.levels[-len(part.levels) :]


@pytest.mark.parametrize(("name", "prediction"), PAIRS)
def test_from_a_picture_a_little_noise_leaves_it_and_much_does_not(name, prediction):
    picture = MEAN + SPREAD * noise_of(4).first()
    ends = [walk_all(walk_of(name, prediction, 20, denoising=part), noise_of(3), prediction, picture) for part in (0.1, 1.0)]
    near, far = ((end - picture).abs().mean() for end in ends)
    assert near < 0.4 < far


def test_a_model_that_starts_from_pure_noise():
    for name in (
        "Euler a",
        "DPM++ 2M",
        "DDIM",
        "Euler",
        "UniPC",
        "DPM++ SDE",
        "DPM++ 2M SDE",
        "DPM++ 2S a",
        "DPM++ 3M SDE",
        "LCM",
    ):
        walk = make_walk(name, "Automatic", ZERO_SNR, "v_prediction", 20, "cpu")
        assert walk.levels[0] == pytest.approx(4096, rel=1e-3)
        latents = walk_all(walk, noise_of(1), "v_prediction")
        assert torch.isfinite(latents).all() and latents.mean().item() == pytest.approx(MEAN, abs=0.1)
        assert 0.2 < latents.std().item() < 0.8
    with pytest.raises(ConfigError) as caught:
        make_walk("Heun", "Automatic", ZERO_SNR, "v_prediction", 20, "cpu")
    assert caught.value.code == "sampler.zero_snr"


def test_schedules_that_do_not_fit_are_refused():
    for schedule, prediction, code in (("Karras", "flow", "schedule.flow"), ("Falling", "epsilon", "schedule.unknown")):
        with pytest.raises(ConfigError) as caught:
            walk_of("Euler", prediction, schedule=schedule)
        assert caught.value.code == code and "Automatic" in str(caught.value)
