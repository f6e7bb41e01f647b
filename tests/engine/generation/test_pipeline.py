"""The picture loop on a tiny random model: the same seed, the same picture; the prompt language is carried out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from engine.config.choices import SAMPLER_NAMES
from engine.config.generate import GenerateConfig
from engine.errors import ConfigError
from engine.families import load_model
from engine.families.base import Family
from engine.generation.pipeline import make_pictures, picture_size, plan_parts, plan_texts, to_image
from tests.support.tiny import tiny_sd1

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sd1(tmp_path_factory.mktemp("models") / "epsilon")


@pytest.fixture(scope="module")
def model(folder: Path) -> Family:
    return load_model(folder, CPU, torch.float32)


def config(**options) -> GenerateConfig:
    return GenerateConfig(**{"sampler": "DDIM", "steps": 2, "guidance_scale": 3, **options})


def draw(model: Family, text: str = "a red cat", negative: str = "", seeds: tuple[int, ...] = (1,), **options) -> torch.Tensor:
    return make_pictures(model, text, negative, config(**options), seeds)


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_draws_the_same_picture_twice(model: Family, sampler: str) -> None:
    first, again = draw(model, sampler=sampler, steps=3), draw(model, sampler=sampler, steps=3)
    assert first.shape == (1, 3, 64, 64) and first.dtype == torch.float32
    assert torch.isfinite(first).all() and first.min() >= 0 and first.max() <= 1 and first.std() > 0.01
    assert torch.equal(first, again)
    assert not torch.equal(first, draw(model, sampler=sampler, steps=3, seeds=(2,)))


@pytest.mark.parametrize("sampler", ["Euler a", "DDIM"])
def test_three_at_once_are_three_singles(model: Family, sampler: str) -> None:
    together = draw(model, seeds=(4, 5, 6), sampler=sampler)
    for picture, seed in zip(together, (4, 5, 6), strict=True):
        torch.testing.assert_close(picture, draw(model, seeds=(seed,), sampler=sampler)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_the_loop_is_diffusers_loop(folder: Path, tmp_path: Path, kind: str) -> None:
    folder = folder if kind == "epsilon" else tiny_sd1(tmp_path / "v", prediction_type=kind)
    model = load_model(folder, CPU, torch.float32)
    assert model.prediction == kind
    words = model.conditioning(1).encode(["a red cat", "green"])
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, set_alpha_to_one=True)  # to the very end
    assert pipe.scheduler.config.prediction_type == kind
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 8, 16, generator=torch.Generator().manual_seed(3))
    theirs = pipe(
        prompt_embeds=words["a red cat"]["text"], negative_prompt_embeds=words["green"]["text"], latents=latents, num_inference_steps=3,
        guidance_scale=5, width=128, height=64, output_type="pt",
    ).images  # fmt: skip
    ours = draw(model, "a red cat", "green", seeds=(3,), steps=3, guidance_scale=5, width=128)
    assert (ours - theirs).abs().max() < 1e-4


def test_epsilon_and_v_are_not_the_same(model: Family, tmp_path: Path) -> None:
    other = load_model(tiny_sd1(tmp_path / "v", prediction_type="v_prediction"), CPU, torch.float32)
    assert not torch.allclose(draw(model), draw(other), atol=1e-3)


def test_without_guidance_the_negative_prompt_counts_for_nothing(model: Family) -> None:
    assert torch.equal(draw(model, negative="green", guidance_scale=1), draw(model, guidance_scale=1))
    assert not torch.equal(draw(model, negative="green"), draw(model))


def test_a_composition_of_a_text_with_itself_is_the_text(model: Family) -> None:
    halves = draw(model, "a red cat :0.5 AND a red cat :0.5")
    torch.testing.assert_close(halves, draw(model, "a red cat"), rtol=0, atol=1e-4)
    assert not torch.allclose(draw(model, "a red cat AND a green house"), halves, atol=1e-3)
    twice = draw(model, "a red cat AND a red cat", guidance_scale=1)
    torch.testing.assert_close(twice, draw(model, "a red cat", guidance_scale=2), rtol=0, atol=1e-4)


def test_a_schedule_that_never_switches_is_the_plain_text(model: Family) -> None:
    assert torch.equal(draw(model, "a [red:green:9] cat"), draw(model, "a red cat"))
    assert torch.equal(draw(model, "a [red:green:0] cat"), draw(model, "a green cat"))
    assert not torch.equal(draw(model, "a [red:green:1] cat"), draw(model, "a red cat"))


def test_the_negative_prompt_has_schedules_too(model: Family) -> None:
    assert torch.equal(draw(model, negative="[red:green:9] cat"), draw(model, negative="red cat"))
    assert not torch.equal(draw(model, negative="[red:green:1] cat"), draw(model, negative="red cat"))


def test_a_long_prompt_and_a_short_negative_prompt_fit_together(model: Family) -> None:
    assert draw(model, "a red cat, " * 40, "green").shape == (1, 3, 64, 64)
    assert draw(model, "a red cat", "a green house, " * 40).shape == (1, 3, 64, 64)


def test_what_each_call_is_told() -> None:
    assert plan_texts("a [b:c:2] d", 4, 4) == ("a b d", "a b d", "a c d", "a c d")
    (part,) = plan_parts("a [b:c:1] d", 2, 3)  # Heun: two calls a step but for the last
    assert part.weight == 1 and part.texts == ("a b d", "a b d", "a c d")
    parts = plan_parts("cat AND dog :0.5", 2, 2)
    assert [part.weight for part in parts] == [1, 0.5] and all(len(part.texts) == 2 for part in parts)


def test_progress_counts_to_the_end(model: Family) -> None:
    told: list[tuple[int, int]] = []
    make_pictures(model, "a", "", config(steps=3), [1], lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_sizes(model: Family) -> None:
    assert picture_size(config(), model) == (64, 64)
    assert picture_size(config(width=72, height=8), model) == (72, 8)
    assert draw(model, width=72, height=88).shape == (1, 3, 88, 72)  # the U-Net's halves do not come out even
    for field in ("width", "height"):
        with pytest.raises(ConfigError) as caught:
            draw(model, **{field: 100})
        assert caught.value.code == "config.size" and caught.value.values["field"] == field and "96" in caught.value.todo


def test_the_random_state_of_the_process_is_left_alone(model: Family) -> None:
    before = torch.get_rng_state()
    draw(model, sampler="Euler a")
    assert torch.equal(torch.get_rng_state(), before)


def test_pixels() -> None:
    picture = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1).expand(3, 2, 4)
    image = to_image(picture)
    assert image.size == (4, 2) and image.mode == "RGB"
    assert np.array_equal(np.asarray(image)[0, 0], [0, 128, 255])
