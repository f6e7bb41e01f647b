"""Models of several families are chosen on the page, which follows each; one is trained and drawn with. Nobody is asked a family.

The models are tiny ones, made by the command that users have for dry runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.config.choices import SAMPLERS_FOR
from engine.formats.infotext import read_infotext_from_image
from engine.formats.models import MODELS
from engine.formats.models.base import Habits
from engine.formats.summary import describe
from tests.support.browser import tab, until
from tests.support.pictures import make_photos
from tests.ui.conftest import ROOT, Server, start
from webui import presets
from webui.i18n import t

SECONDS_TO_WORK = 240
FAMILIES = ("sdxl", "flux", "z_image")
STARTER_FIELDS = {"conv_rank": True, "train_text_encoder": True, "train_t5": False}
TRAINING_FIELDS = ("clip_skip", "timestep_sampling", "distilled_guidance", "text_encoder_learning_rate")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own with a tiny model of each family and a few pictures."""
    data = tmp_path_factory.mktemp("families") / "data"
    running = [make_tiny(family, data / "models" / "checkpoints" / f"tiny-{family}") for family in FAMILIES]
    make_photos(data / "datasets" / "holiday", 2, seed=4)
    program = start(data)
    assert [process.wait(SECONDS_TO_WORK) for process in running] == [0] * len(FAMILIES)
    yield program
    program.interrupt()


def make_tiny(family: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "engine", "model", "make-tiny", family, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def box(page: Any, id: str) -> Any:
    return page.locator(f"#{id} input, #{id} textarea").first


def fill(page: Any, id: str, words: str) -> None:
    box(page, id).fill(words)
    box(page, id).press("Tab")


def options(page: Any, id: str) -> list[str]:
    """The words of a list."""
    box(page, id).click()
    page.locator(f"#{id} [role=listbox]").wait_for()
    words = [each.strip().removeprefix("✓").strip() for each in page.locator(f"#{id} [role=option]").all_inner_texts()]
    box(page, id).blur()
    page.locator(f"#{id} [role=listbox]").wait_for(state="detached")
    return words


def choose(page: Any, id: str, words: str) -> None:
    box(page, id).click()
    page.locator(f"#{id}").get_by_role("option", name=words, exact=True).click()


def open_all(page: Any, sections: Sequence[str]) -> None:
    """Every setting of these sections on the LoRA tab."""
    page.click("#train-advanced > button")
    for section in sections:
        page.click(f"#train-section-{section} > button")
        page.click(f"#train-expert-{section} > button")
    page.wait_for_selector(f"#train-expert-{sections[-1]} .form")


def set_to(page: Any) -> dict[str, str]:
    """What the Generate tab holds of what models have habits about."""
    return {key: box(page, f"generate-{key}").input_value() for key in ("sampler", "steps", "guidance_scale")}


def habits(model: Habits, guidance: float = 0) -> dict[str, str]:
    """The same as a model likes it; `guidance` is somebody's own."""
    return {"sampler": model.sampler, "steps": f"{model.steps}", "guidance_scale": f"{guidance or model.guidance_scale:g}"}


def likes(family: str) -> Habits:
    return next(iter(MODELS[family].variants.values())).habits


def test_generate_follows_the_model_and_keeps_what_somebody_set(open_page: Callable) -> None:
    page = open_page("en-US")
    tab(page, "generate")
    page.click("#generate-advanced > button")
    page.wait_for_selector("#generate-width")
    page.locator("#generate-prompt textarea").fill("a red cat on a chair")

    def follows(model: str, family: str, guidance: float = 0) -> None:
        choose(page, "generate-model", model)
        until(lambda: set_to(page) == habits(likes(family), guidance))
        limit = likes(family).text_length or 75
        until(lambda: f"/ {limit} tokens" in page.inner_text("#generate-tokens"))
        until(lambda: page.is_visible("#generate-distilled_guidance") == (likes(family).distilled_guidance > 0))
        until(lambda: page.is_visible("#generate-clip_skip") == (likes(family).clip_skip > 0))
        variant = next(iter(MODELS[family].variants.values()))
        until(lambda: options(page, "generate-sampler") == list(SAMPLERS_FOR[variant.prediction]))

    assert set_to(page) == {"sampler": "Euler a", "steps": "20", "guidance_scale": "7"}, "the starter is an SD1"
    follows("tiny-flux", "flux")
    assert box(page, "generate-distilled_guidance").input_value() == "3.5"
    fill(page, "generate-guidance_scale", "2")
    follows("tiny-sdxl", "sdxl", guidance=2)
    follows("tiny-z_image", "z_image", guidance=2)
    follows("starter", "sd1", guidance=2)


def test_the_lora_tab_follows_the_model(open_page: Callable) -> None:
    page = open_page("ja-JP")
    open_all(page, ("adapter", "training"))

    def follows(model: str, family: str, *seen: str) -> None:
        choose(page, "train-model-path", model)
        fields = [*(f"adapter-{key}" for key in STARTER_FIELDS), *(f"training-{key}" for key in TRAINING_FIELDS)]
        until(lambda: {key.partition("-")[2] for key in fields if page.is_visible(f"#train-{key}")} == set(seen))
        names = [t(f"preset.{name.replace('/', '-')}", "ja") for name in presets.names() if name.startswith(f"{family}/")]
        until(lambda: options(page, "train-preset") == names)

    follows("tiny-sdxl", "sdxl", "conv_rank", "train_text_encoder", "text_encoder_learning_rate")
    follows("tiny-z_image", "z_image", "timestep_sampling")
    follows(
        "tiny-flux", "flux", "train_text_encoder", "train_t5", "timestep_sampling", "distilled_guidance", "text_encoder_learning_rate",
    )  # fmt: skip
    follows("starter", "starter", "conv_rank", "train_text_encoder", "clip_skip", "text_encoder_learning_rate")


def test_nobody_is_asked_for_the_family(open_page: Callable) -> None:
    """Kohya's GUI has boxes to tick: v2, v_parameterization, SDXL, FLUX.1, SD3."""
    page = open_page("en-US")
    open_all(page, ("adapter", "training", "dataset", "samples", "output", "model"))
    ticked = page.locator("label:has(input[type=checkbox]), label:has(input[type=radio])").all_inner_texts()
    assert len(ticked) > 10
    titles = [word for family, model in MODELS.items() for word in (family, model.title)] + ["v2", "SDXL", "FLUX", "SD3", "param"]
    assert not [(label, title) for label in ticked for title in titles if title.lower() in label.lower()]


def test_a_flux_lora_is_trained_and_drawn_with(open_page: Callable, server: Server) -> None:
    page = open_page("en-US")
    choose(page, "train-model-path", "tiny-flux")
    fill(page, "train-dataset-folder", "holiday")
    fill(page, "train-output-name", "trip")
    fill(page, "train-dataset-trigger", "holidaze")
    open_all(page, ("training", "samples"))
    fill(page, "train-training-max_steps", "2")
    fill(page, "train-samples-count", "0")
    until(lambda: t("text.plan.ready", "en") in page.inner_text("#train-plan") and "tiny-flux" in page.inner_text("#train-plan"))
    page.click("#train-start")
    page.wait_for_selector("#run-panel")
    until(lambda: page.locator("#run-head .state-done").count() == 1, SECONDS_TO_WORK)
    summary = describe(server.data / "loras" / "trip.safetensors")
    assert (summary.base, summary.algorithm, summary.trigger) == ("flux", "lora", "holidaze")

    page.click("#run-try")
    until(lambda: page.is_visible("#generate-start") and box(page, "generate-model").input_value() == "tiny-flux")
    until(lambda: set_to(page) == habits(likes("flux")))
    page.locator("#generate-prompt textarea").fill("holidaze <lora:trip:1>")
    fill(page, "generate-steps", "2")
    page.click("#generate-start")
    page.wait_for_selector("#generate-gallery img", timeout=SECONDS_TO_WORK * 1000)
    name, _, rest = page.inner_text("#generate-report").partition(":")
    assert (name, rest.split()[0]) == ("trip", rest.split()[2]), "every module of the file fits the model"
    (picture,) = (server.data / "outputs").rglob("*.png")
    words = read_infotext_from_image(picture) or ""
    assert "<lora:trip:1>" in words and "Sampler: Euler," in words and "Steps: 2" in words
