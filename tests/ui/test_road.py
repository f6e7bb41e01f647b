"""The road a newcomer walks, clicked in a real browser: practice run, samples, the picture with the tag. Nothing is mocked."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.formats.infotext import read_infotext_from_image
from engine.formats.summary import describe
from tests.support.browser import tab, until
from tests.support.pictures import make_photos
from tests.support.tiny import tiny_sd1_single_file
from tests.ui.conftest import Server, start
from webui.i18n import t

ROOT = Path(__file__).parents[2]
SECONDS_TO_TRAIN = 900
SECONDS_TO_DRAW = 240


def state(page: Any, panel: str = "run") -> str:
    """The state of the run shown, as its badge says: "running", "done", ..."""
    badge = page.locator(f"#{panel}-head .badge")
    names = (badge.first.get_attribute("class") or "") if badge.count() else ""
    return next((name.removeprefix("state-") for name in names.split() if name.startswith("state-")), "")


def step(page: Any) -> int:
    """The step that the progress line names, 0 before there is one."""
    bar = page.locator("#run-head [role=progressbar]")
    return round(float(bar.get_attribute("aria-valuenow")) * 1.5) if bar.count() and page.locator("#run-curve svg").count() else 0


def draw(page: Any, press: Callable[[], None]) -> None:
    """Press something that makes pictures and wait for them."""
    before = page.locator("#generate-parameters textarea").input_value() if page.is_visible("#generate-parameters") else ""
    press()
    until(
        lambda: (
            page.is_visible("#generate-parameters")
            and page.locator("#generate-parameters textarea").input_value() != before
            and not page.is_visible("#generate-stop")
        ),
        SECONDS_TO_DRAW,
    )


def loaded(page: Any, selector: str) -> int:
    """How many pictures of a place have arrived; lazy ones are scrolled to."""
    images = page.locator(f"{selector} img")
    for number in range(images.count()):
        images.nth(number).scroll_into_view_if_needed()
    return page.evaluate(
        f"[...document.querySelectorAll('{selector} img')].filter((one) => one.complete && one.naturalWidth > 0).length"
    )


def prompt(page: Any) -> Any:
    return page.locator("#generate-prompt textarea")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the road ends with its end."""
    running = start(tmp_path_factory.mktemp("road") / "data")
    yield running
    if running.process.poll() is None:
        running.interrupt()


@pytest.fixture(scope="module")
def walked() -> dict:
    return {}


def test_one_click_starts_one_practice_run_that_survives_everything(open_page: Callable, server: Any, walked: dict) -> None:
    page = open_page("ja-JP")
    assert page.is_visible("#practice-card")
    page.dblclick("#practice-start")
    page.wait_for_selector("#run-panel")
    assert not page.is_visible("#practice-card")
    tab(page, "runs")
    until(lambda: page.locator(".run-row").count() > 0)
    page.wait_for_timeout(1000)
    assert page.locator(".run-row").count() == 1
    tab(page, "lora")
    until(lambda: state(page) == "running" and step(page) > 0, SECONDS_TO_TRAIN)

    page.reload()
    until(lambda: state(page) == "running" and step(page) > 0)
    second = open_page("en-US")
    until(lambda: state(second) == "running")

    page.click("#run-stop")
    until(lambda: state(page) == "paused", 120)
    assert page.is_visible("#run-resume")
    page.click("#run-resume")
    until(lambda: state(page) in ("queued", "running"))
    until(lambda: state(page) == "done", SECONDS_TO_TRAIN)
    until(lambda: state(second) == "done")
    walked["done"] = True

    assert page.locator("#run-curve svg polyline").count() == 2
    assert page.locator("#run-files .files li").count() == 5
    assert page.locator("#run-samples .timeline").count() == 2
    until(lambda: loaded(page, "#run-samples") == 12)
    assert (server.data / "loras" / "my-mascot.safetensors").is_file()


def test_the_new_lora_is_tried_in_generate(open_page: Callable, server: Any, walked: dict) -> None:
    if not walked:
        pytest.skip("there is no run to try")
    page = open_page("en-US")
    page.click("#run-try")
    until(lambda: page.is_visible("#generate-start") and "<lora:my-mascot:0.8>" in prompt(page).input_value())
    until(lambda: page.locator(".adapter.in-use").count() == 1)
    draw(page, lambda: page.click("#generate-start"))
    report = page.inner_text("#generate-report")
    name, _, rest = report.partition(":")
    matched, total = rest.split()[0], rest.split()[2]
    assert (name, matched) == ("my-mascot", total)
    page.wait_for_selector("#generate-gallery img")

    newest = max((server.data / "outputs").rglob("*.png"), key=lambda file: file.stat().st_mtime_ns)
    assert "<lora:my-mascot:0.8>" in (read_infotext_from_image(newest) or "")
    source = page.locator("#generate-gallery img").first.get_attribute("src")
    with urllib.request.urlopen(source) as reply:
        assert reply.read() == newest.read_bytes()

    page.click("#generate-reuse")
    seed = page.locator("#generate-seed input")
    until(lambda: seed.input_value() in newest.name)
    page.click("#generate-dice")
    until(lambda: seed.input_value() == "-1")


def test_an_unknown_lora_is_named_and_its_neighbour_too(open_page: Callable, walked: dict) -> None:
    if not walked:
        pytest.skip("there is no run to try")
    page = open_page("ja-JP")
    tab(page, "generate")
    prompt(page).fill("mofumo <lora:my-mascott:1>")
    draw(page, lambda: prompt(page).press("Control+Enter"))
    assert "my-mascott という LoRA はありません" in page.inner_text("#generate-report")
    assert "my-mascot" in page.inner_text("#generate-report").replace("my-mascott", "")
    assert prompt(page).input_value() == "mofumo <lora:my-mascott:1>"


def test_cards_write_the_tag_and_the_comparison_shows_both(open_page: Callable, walked: dict) -> None:
    if not walked:
        pytest.skip("there is no run to try")
    page = open_page("en-US")
    tab(page, "generate")
    until(lambda: loaded(page, "#generate-loras") == 1)  # the last sample of its run
    prompt(page).fill("on the beach, sunny")
    page.evaluate("document.querySelector('#generate-prompt textarea').setSelectionRange(12, 12)")
    page.click(".adapter .insert")
    assert prompt(page).input_value() == "on the beach <lora:my-mascot:0.8> mofumo, sunny"
    until(lambda: page.locator("[data-dose=one].now").count() == 1)
    page.locator(".adapter .strength").fill("1.2")
    until(lambda: "<lora:my-mascot:1.2>" in prompt(page).input_value())
    page.locator("#generate-search input").fill("no such thing")
    until(lambda: page.locator(".adapter").count() == 0)
    page.locator("#generate-search input").fill("mofu")
    until(lambda: page.locator(".adapter.in-use").count() == 1)
    page.click("#generate-compare input")
    composing = "new KeyboardEvent('keydown', {key: '%s', ctrlKey: %s, isComposing: true, bubbles: true})"
    page.evaluate(f"document.querySelector('#generate-prompt textarea').dispatchEvent({composing % ('Enter', 'true')})")
    page.wait_for_timeout(700)
    assert not page.is_visible("#generate-stop")
    draw(page, lambda: page.click("#generate-start"))
    page.wait_for_selector("#generate-compare-view img")
    page.click(".adapter .insert")
    until(lambda: prompt(page).input_value() == "on the beach, sunny")
    page.locator("#generate-steps input").first.fill("150")
    prompt(page).press("Control+Enter")
    until(lambda: page.is_visible("#generate-stop"))
    page.evaluate(f"document.querySelector('#generate-prompt textarea').dispatchEvent({composing % ('Escape', 'false')})")
    page.wait_for_timeout(300)
    assert page.is_visible("#generate-stop")
    page.keyboard.press("Escape")
    until(lambda: not page.is_visible("#generate-stop"))
    assert t("text.gen.done", "en", time="").strip() not in page.inner_text("#generate-status")


def test_a_taken_name_is_told_with_a_free_one(open_page: Callable, walked: dict) -> None:
    if not walked:
        pytest.skip("there is no run to try")
    page = open_page("ja-JP")
    box = page.locator("#train-output-name input, #train-output-name textarea").first
    box.fill("my-mascot")
    box.press("Tab")
    until(
        lambda: t("text.problem.name_taken", "ja", name="my-mascot", free="my-mascot-v2") in page.inner_text("#train-output-name")
    )
    tab(page, "library")
    until(lambda: "my-mascot" in page.inner_text("#library-view .cards"))


def box(page: Any, id: str) -> Any:
    return page.locator(f"#{id} input, #{id} textarea").first


def fill(page: Any, id: str, words: str) -> None:
    box(page, id).fill(words)
    box(page, id).press("Tab")


def test_own_pictures_and_an_own_checkpoint_go_the_same_road(open_page: Callable, server: Any) -> None:
    """Photographs and drawings of several sizes and formats, and a Stable Diffusion 1.x checkpoint in one file."""
    make_photos(server.data / "datasets" / "holiday", 6, seed=4)
    tiny_sd1_single_file(server.data / "models" / "checkpoints" / "own.safetensors")
    page = open_page("en-US")
    fill(page, "train-dataset-folder", "holiday")
    practice_only = "The starter is a tiny practice model."
    until(lambda: practice_only in page.inner_text("#train-plan"))
    fill(page, "train-model-path", "own.safetensors")
    until(lambda: practice_only not in page.inner_text("#train-plan") and page.locator("#train-strip img").count() == 6)
    fill(page, "train-output-name", "holiday-style")
    fill(page, "train-dataset-trigger", "holidaze")
    page.click("#train-advanced > button")
    for section, field, value in (
        ("training", "training-max_steps", "3"),
        ("dataset", "dataset-resolution", "128"),
        ("samples", "samples-count", "1"),
    ):
        page.click(f"#train-section-{section} > button")
        page.wait_for_selector(f"#train-{field}")
        fill(page, f"train-{field}", value)
    until(lambda: t("text.plan.ready", "en") in page.inner_text("#train-plan"))
    page.click("#train-start")
    until(lambda: "holiday-style" in page.inner_text("#run-head") and state(page) == "done", SECONDS_TO_TRAIN)
    page.click("#run-try")
    until(lambda: page.is_visible("#generate-start") and "<lora:holiday-style:0.8>" in prompt(page).input_value())
    draw(page, lambda: page.click("#generate-start"))
    name, _, rest = page.inner_text("#generate-report").partition(":")
    assert (name, rest.split()[0]) == ("holiday-style", rest.split()[2])
    summary = describe(server.data / "loras" / "holiday-style.safetensors")
    assert (summary.base, summary.trigger, summary.pictures) == ("sd1", "holidaze", 6)


def test_a_second_start_opens_the_first_and_ctrl_c_saves(server: Any) -> None:
    command = [sys.executable, str(ROOT / "launch.py"), "--no-venv", "--no-browser", "--data-dir", str(server.data)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, env={**os.environ})
    assert told.returncode == 0, told.stderr
    assert server.url in told.stdout
    code, seconds = server.interrupt()
    assert code == 130
    assert seconds < 15  # 10 s on a machine that does nothing else
