"""Pictures from pictures, in parts of pictures and in two passes: laws that hold for every family."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from engine.config.choices import SAMPLERS_FOR
from engine.config.generate import GenerateConfig
from engine.errors import ConfigError, Interrupted
from engine.families import load_model
from engine.families.base import Family
from engine.generation.hires import LATENT, PICTURE, larger, share_of_steps
from engine.generation.pipeline import hires_size, make_pictures, picture_size
from engine.generation.pixels import to_image, to_tensor
from engine.generation.preview import colour_matrix, colours
from engine.generation.sampling.walk import make_walk
from engine.tiny import make_tiny

FAMILIES = [("sd1", None), ("sd1", "inpainting"), ("sd2", None), ("sdxl", None), ("sd3", None), ("flux", None), ("z_image", None)]
BOX = (16, 16, 40, 47)
"""Of the mask, its right and bottom included; px."""


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda each: "-".join(filter(None, each)))
def each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    family, variant = request.param
    return load_model(
        make_tiny(family, tmp_path_factory.mktemp("models") / "x", variant=variant), torch.device("cpu"), torch.float32
    )


@pytest.fixture(scope="module")
def sd1(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return load_model(make_tiny("sd1", tmp_path_factory.mktemp("models") / "sd1"), torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A picture and two masks: white in a box, and white all over."""
    folder = tmp_path_factory.mktemp("pictures")
    box = Image.new("L", (64, 64))
    ImageDraw.Draw(box).rectangle(BOX, 255)
    for name, image in {"picture": scene(), "mask": box, "all": Image.new("L", (64, 64), 255)}.items():
        image.save(folder / f"{name}.png")
    return {name: str(folder / f"{name}.png") for name in ("picture", "mask", "all")}


def scene() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).resize((64, 64))


def draw(
    model: Family, text: str = "a red cat", seeds: tuple[int, ...] = (1,), watch: dict[str, Any] | None = None, **options: Any
) -> Tensor:
    config = GenerateConfig(**{"sampler": "Euler", "steps": 2, "guidance_scale": 3, "width": 64, "height": 64, **options})
    return make_pictures(model, text, "green", config, seeds, **(watch or {}))


@torch.no_grad()
def round_trip(model: Family, picture: Image.Image) -> Tensor:
    return model.decode_latents(model.encode_latents(to_tensor(picture)[None] * 2 - 1))


# ---- from a picture ----


def test_without_denoising_a_picture_only_goes_through_the_vae(each: Family, files: dict[str, str]) -> None:
    again = draw(each, seeds=(1, 2), source={"picture": files["picture"], "denoising": 0})
    assert torch.equal(again[0], again[1])
    torch.testing.assert_close(again[:1], round_trip(each, scene()), atol=1e-5, rtol=1e-5)


def test_denoising_is_how_far_it_goes_from_the_picture(each: Family, files: dict[str, str]) -> None:
    drawn = [draw(each, steps=4, source={"picture": files["picture"], "denoising": how})[0] for how in (0.1, 0.6)]
    own, noise = round_trip(each, scene())[0], draw(each, steps=4)[0]
    assert all(picture.isfinite().all() for picture in drawn)
    less, more = ((picture - own).square().mean() for picture in drawn)
    assert 0 < less < more and not torch.equal(drawn[1], noise)


def test_a_flow_that_forgets_all_of_the_picture_starts_from_noise(each: Family, files: dict[str, str]) -> None:
    full = draw(each, source={"picture": files["picture"], "denoising": 1})
    assert torch.equal(full, draw(each)) is (each.prediction == "flow")


@pytest.mark.parametrize("sampler", ["DDIM", "DPM++ SDE"])
def test_two_at_once_are_two_singles(sd1: Family, files: dict[str, str], sampler: str) -> None:
    source = {"picture": files["picture"], "denoising": 0.5}
    together = draw(sd1, seeds=(4, 5), sampler=sampler, steps=4, source=source)
    assert not torch.equal(together[0], together[1])
    for picture, seed in zip(together, (4, 5), strict=True):
        torch.testing.assert_close(
            picture, draw(sd1, seeds=(seed,), sampler=sampler, steps=4, source=source)[0], rtol=0, atol=1e-3
        )


def test_the_size_is_the_sources(sd1: Family, files: dict[str, str]) -> None:
    config = GenerateConfig(source={"picture": files["picture"]})
    assert picture_size(config, sd1) == (64, 64)
    assert picture_size(config.model_copy(update={"width": 96}), sd1) == (96, 96)
    assert draw(sd1, width=96, height=0, source={"picture": files["picture"], "denoising": 0.5}).shape == (1, 3, 96, 96)


# ---- a part of a picture ----


def test_what_is_not_masked_stays_bit_for_bit(each: Family, files: dict[str, str]) -> None:
    repainted_alone(each, files, "fill")


@pytest.mark.parametrize("content", ["original", "noise", "nothing"])
def test_whatever_the_masked_part_starts_from(sd1: Family, files: dict[str, str], content: str) -> None:
    repainted_alone(sd1, files, content)


def repainted_alone(model: Family, files: dict[str, str], content: str) -> None:
    source = {"picture": files["picture"], "mask": files["mask"], "masked_content": content, "mask_blur": 0, "denoising": 0.8}
    drawn = draw(model, seeds=(1, 2), source=source)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[BOX[1] : BOX[3] + 1, BOX[0] : BOX[2] + 1] = True
    for picture in drawn:
        assert torch.equal(picture[:, ~inside], to_tensor(scene())[:, ~inside])
        changed = np.asarray(to_image(picture)) != np.asarray(scene())
        assert changed[inside.numpy()].mean() > 0.9 and not changed[~inside.numpy()].any()
    assert not torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("sampler", SAMPLERS_FOR["epsilon"])
def test_every_sampler_repaints(sd1: Family, files: dict[str, str], sampler: str) -> None:
    source = {"picture": files["picture"], "mask": files["mask"], "denoising": 0.9}
    drawn = draw(sd1, sampler=sampler, steps=3, source=source)
    far = torch.ones(64, 64, dtype=torch.bool)
    far[:60, :60] = False  # the blurred edge ends before
    assert drawn.isfinite().all() and torch.equal(drawn[0][:, far], to_tensor(scene())[:, far])


def test_a_mask_over_nothing_is_a_picture_from_noise(sd1: Family, files: dict[str, str]) -> None:
    source = {"picture": files["picture"], "mask": files["all"], "masked_content": "nothing", "mask_blur": 0, "denoising": 1}
    assert torch.equal(draw(sd1, source=source), draw(sd1))


def test_the_latents_around_a_mask_are_those_of_the_picture(
    sd1: Family, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    decode = sd1.decode_latents
    monkeypatch.setattr(sd1, "decode_latents", lambda latents: seen.append(latents) or decode(latents))
    draw(sd1, source={"picture": files["picture"], "mask": files["mask"], "denoising": 0.9})
    with torch.no_grad():
        own = sd1.encode_latents(to_tensor(scene())[None] * 2 - 1)
    changed = (seen[0] != own).any(1)[0]
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 2:6] = True  # the box lies in cells 2 to 5 down and, for one pixel of the last, 2 to 5 across
    assert torch.equal(changed, expected)


def test_an_inpainting_model_is_told_what_stays(tmp_path: Path, files: dict[str, str]) -> None:
    model = load_model(make_tiny("sd1", tmp_path / "x", variant="inpainting"), torch.device("cpu"), torch.float32)
    told: list[Tensor] = []
    model.denoiser.register_forward_pre_hook(lambda _, inputs: told.append(inputs[0][:, 4:]))
    draw(model, source={"picture": files["picture"], "mask": files["mask"], "denoising": 0.9})
    mask, hidden = told[0][0, :1], to_tensor(scene()) * 2 - 1
    assert mask[0, 2:6, 2:6].all() and mask.sum() == 16
    hidden[:, 16:48, 16:48] = 0
    with torch.no_grad():
        torch.testing.assert_close(told[0][:1, 1:], model.encode_latents(hidden[None]))
    assert all(torch.equal(each, told[0]) for each in told)


def test_only_the_surroundings_are_drawn_and_put_back(sd1: Family, tmp_path: Path) -> None:
    picture, mask = scene().resize((200, 160)), Image.new("L", (200, 160))
    ImageDraw.Draw(mask).rectangle((150, 100, 159, 109), 255)
    picture.save(tmp_path / "picture.png")
    mask.save(tmp_path / "mask.png")
    source = {
        "picture": str(tmp_path / "picture.png"), "mask": str(tmp_path / "mask.png"), "only_masked": True, "padding": 8, "mask_blur": 2,
    }  # fmt: skip
    shown: list[Tensor] = []
    drawn = draw(sd1, source=source, preview_every=1, watch={"on_preview": shown.append})
    assert drawn.shape == (1, 3, 160, 200) and shown[0].shape == (1, 3, 8, 8)
    changed = np.argwhere((np.asarray(to_image(drawn[0])) != np.asarray(picture)).any(2))
    assert len(changed) > 50 and changed.min(0).tolist() >= [90, 140] and changed.max(0).tolist() <= [120, 170]


# ---- a second pass ----


def test_a_scale_of_one_is_no_second_pass(sd1: Family) -> None:
    other = {"scale": 1, "upscaler": "Lanczos", "denoising": 0.3, "steps": 9, "prompt": "x"}
    assert torch.equal(draw(sd1, hires=other), draw(sd1))


def test_every_family_draws_a_second_pass(each: Family) -> None:
    hires = {"scale": 1.5, "denoising": 0.6}
    together = draw(each, seeds=(1, 2), hires=hires)
    assert together.shape == (2, 3, 96, 96) and together.isfinite().all() and together.std() > 0.01
    torch.testing.assert_close(together[1], draw(each, seeds=(2,), hires=hires)[0], rtol=0, atol=1e-3)


@torch.no_grad()
def test_what_is_enlarged(sd1: Family) -> None:
    first, drawn = draw(sd1), {}
    for upscaler in (*LATENT, *PICTURE):
        drawn[upscaler] = draw(sd1, hires={"scale": 1.5, "upscaler": upscaler, "denoising": 0})
        assert drawn[upscaler].shape == (1, 3, 96, 96)
    for upscaler, resampling in PICTURE.items():
        image = to_image(first[0]).resize((96, 96), resampling)
        torch.testing.assert_close(drawn[upscaler], round_trip(sd1, image), atol=1e-4, rtol=0)
    same = [(a, b) for a, b in combinations(drawn, 2) if torch.allclose(drawn[a], drawn[b], atol=1e-3)]
    assert same == [("Latent", "Latent (antialiased)")]  # antialiasing is for making things smaller


def test_the_second_pass_has_its_own_prompts_and_a_schedule_runs_through_both(sd1: Family) -> None:
    hires = {"scale": 1.5, "denoising": 0.6, "steps": 3}
    two = draw(sd1, "a red cat", hires={**hires, "prompt": "a green cat"})
    assert torch.equal(draw(sd1, "a [red:green:1.0] cat", hires=hires), two)
    assert torch.equal(draw(sd1, "a [red:green:2] cat", hires=hires), two)  # whole numbers go on counting: 2 steps, then 3
    assert not torch.equal(draw(sd1, "a red cat", hires=hires), two)
    against = draw(sd1, "a red cat", hires={**hires, "negative_prompt": "blue"})
    assert not torch.equal(draw(sd1, "a red cat", hires=hires), against)
    assert torch.equal(draw(sd1, "a red cat", hires={**hires, "negative_prompt": "green"}), draw(sd1, "a red cat", hires=hires))


def test_adapters_named_for_the_second_pass_alone_are_reported(sd1: Family) -> None:
    problems: list[Any] = []
    hires = {"scale": 1.5, "denoising": 0.6, "prompt": "a cat <lora:x:1> # not this"}
    drawn = draw(sd1, hires=hires, watch={"on_problem": problems.append})
    assert [problem.code for problem in problems] == ["prompt.hires_tags"] and "<lora:x:1>" in problems[0].what
    assert torch.equal(drawn, draw(sd1, hires={**hires, "prompt": "a cat "}))


def test_sizes_of_the_second_pass(sd1: Family, files: dict[str, str]) -> None:
    assert (
        larger((512, 768), 2, 8) == (1024, 1536)
        and larger((512, 512), 1.7, 8) == (864, 864)
        and larger((64, 64), 1.3, 16) == (80, 80)
    )
    config = GenerateConfig(width=64, height=96, hires={"scale": 1.5})
    assert hires_size(config, sd1) == (96, 144) and hires_size(GenerateConfig(), sd1) is None
    with pytest.raises(ConfigError) as caught:
        draw(sd1, source={"picture": files["picture"], "mask": files["mask"]}, hires={"scale": 1.5})
    assert caught.value.code == "hires.mask"
    assert draw(sd1, source={"picture": files["picture"], "denoising": 0.5}, hires={"scale": 1.5}).shape == (1, 3, 96, 96)


@pytest.mark.parametrize("denoising", [0.01, 0.3, 0.5, 0.7, 0.99, 1.0])
@pytest.mark.parametrize("prediction", ["epsilon", "flow"])
def test_all_steps_of_the_second_pass_are_walked(sd1: Family, prediction: str, denoising: float) -> None:
    config: dict[str, Any] = dict(sd1.scheduler_config) if prediction == "epsilon" else {"num_train_timesteps": 1000}
    first = []
    for walked in (1, 2, 7, 20):
        steps, share = share_of_steps(walked, denoising)
        walk = make_walk("Euler", "Automatic", config, prediction, steps, "cpu", denoising=share)
        assert walk.steps == walked and steps == max(walked, int(walked / min(denoising, 0.999)))
        first.append(float(walk.timesteps[0]))
    assert abs(first[-1] - denoising * 1000) <= 50  # of the next of so many steps


# ---- who watches ----


def test_watching_changes_nothing(each: Family) -> None:
    shown: list[Tensor] = []
    told: list[tuple[int, int]] = []
    watch = {"on_preview": shown.append, "on_step": lambda *step: told.append(step), "on_progress": lambda *_: None}
    options = {"seeds": (1, 2), "steps": 3, "hires": {"scale": 1.5, "steps": 2, "denoising": 0.5}}
    assert torch.equal(draw(each, preview_every=1, watch=watch, **options), draw(each, preview_every=0, **options))
    assert told == [(1, 3), (2, 3), (3, 3), (1, 2), (2, 2)]
    cells = each.latent_shape(64, 64)[1]
    assert [picture.shape for picture in shown] == 3 * [(2, 3, cells, cells)] + 2 * [(2, 3, cells * 3 // 2, cells * 3 // 2)]
    assert all(picture.min() >= 0 and picture.max() <= 1 and picture.device.type == "cpu" for picture in shown)


def test_the_last_preview_shows_the_latents_at_the_end(sd1: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Tensor] = []
    latents: list[Tensor] = []
    decode = sd1.decode_latents
    monkeypatch.setattr(sd1, "decode_latents", lambda given: latents.append(given) or decode(given))
    draw(sd1, steps=4, preview_every=2, watch={"on_preview": shown.append})
    assert len(shown) == 2 and not torch.allclose(shown[0], shown[1], atol=1e-2)
    torch.testing.assert_close(shown[1], colours(latents[0], colour_matrix(sd1)))


@pytest.mark.parametrize("sampler", ["Euler", "Heun"])
def test_a_preview_stands_for_a_step_not_for_a_call(sd1: Family, sampler: str) -> None:
    shown: list[Tensor] = []
    steps: list[tuple[int, int]] = []
    draw(
        sd1,
        sampler=sampler,
        steps=4,
        preview_every=2,
        watch={"on_preview": shown.append, "on_step": lambda *step: steps.append(step)},
    )
    assert len(shown) == 2 and len(steps) == (7 if sampler == "Heun" else 4) and {step for step, _ in steps} == {1, 2, 3, 4}


def test_progress_counts_both_passes(sd1: Family) -> None:
    told: list[tuple[int, int]] = []
    draw(sd1, hires={"scale": 1.5, "steps": 3}, watch={"on_progress": lambda *done: told.append(done)})
    assert told == [(done, 5) for done in range(1, 6)]


def test_who_watches_may_stop_it(sd1: Family) -> None:
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Interrupted("job.interrupted", "Stopped.")

    with pytest.raises(Interrupted):
        draw(sd1, steps=4, watch={"on_progress": stop})
    assert torch.equal(draw(sd1), draw(sd1))


# ---- noise and words ----


def test_variations_go_from_one_seed_to_another(sd1: Family) -> None:
    both = {"watch": {"variation_seeds": (8, 9)}, "seeds": (1, 2)}
    torch.testing.assert_close(draw(sd1, variation_strength=1, **both), draw(sd1, seeds=(8, 9)), atol=1e-3, rtol=0)
    assert torch.equal(draw(sd1, variation_strength=0, **both), draw(sd1, seeds=(1, 2)))
    between = draw(sd1, variation_strength=0.5, **both)
    assert not torch.equal(between, draw(sd1, seeds=(1, 2))) and between.isfinite().all()


def test_noise_comes_from_where_it_is_asked(sd1: Family) -> None:
    assert not torch.equal(draw(sd1, noise_source="NV"), draw(sd1))
    for sampler, changes in (("Euler", False), ("Euler a", True)):
        plain, other = (draw(sd1, sampler=sampler, eta_noise_seed_delta=delta) for delta in (0, 31337))
        assert torch.equal(plain, other) is not changes


def test_emphasis_is_as_asked(sd1: Family) -> None:
    weighted = "a (red:1.4) cat"
    assert torch.equal(draw(sd1, weighted, emphasis="Ignore"), draw(sd1, "a red cat"))
    assert not torch.equal(draw(sd1, weighted), draw(sd1, "a red cat"))
