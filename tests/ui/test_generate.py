"""What is done in Generate besides typing a prompt: a picture dropped back in, a picture to start from, batches that are stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.formats.infotext import parse_infotext, read_infotext_from_image
from tests.support.browser import settled, tab, until
from tests.ui.conftest import Server
from tests.ui.test_road import draw, prompt
from webui.i18n import t

SECONDS = 120


@pytest.fixture()
def page(open_page: Callable) -> Any:
    page = open_page("en-US")
    tab(page, "generate")
    page.wait_for_selector("#generate-start")
    settled(page)
    return page


def box(page: Any, id: str) -> Any:
    return page.locator(f"#generate-{id} input, #generate-{id} textarea").first


def fill(page: Any, id: str, words: str) -> None:
    box(page, id).fill(words)
    box(page, id).press("Tab")


def made(server: Server) -> list[Path]:
    return sorted((server.data / "outputs").glob("2*/*.png"), key=lambda file: file.stat().st_mtime_ns)


def pixels(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def test_a_picture_dropped_back_in_is_made_again(page: Any, open_page: Callable, server: Server) -> None:
    prompt(page).fill('a (red:1.2) cat, "quoted", on a\nblue background')
    fill(page, "negative_prompt", "dark, a dog")
    fill(page, "seed", "77")
    fill(page, "guidance_scale", "5.5")
    page.locator("#generate-sampler input").click()
    page.get_by_role("option", name="DPM++ 2M", exact=True).click()
    draw(page, lambda: page.click("#generate-start"))
    first = made(server)[-1]
    params = parse_infotext(read_infotext_from_image(first) or "")[2]
    assert (params["Seed"], params["Sampler"], params["CFG scale"]) == ("77", "DPM++ 2M", "5.5")

    other = open_page("ja-JP")
    tab(other, "generate")
    other.click("#generate-recall > button")
    other.wait_for_selector("#recall-file")
    settled(other)
    other.locator("#recall-file input[type=file]").set_input_files(first)
    until(lambda: box(other, "seed").input_value() == "77")
    assert prompt(other).input_value() == prompt(page).input_value()
    assert box(other, "negative_prompt").input_value() == "dark, a dog"
    assert box(other, "sampler").input_value() == "DPM++ 2M" and "LoRA Atelier" in other.inner_text("#recall-report")
    settled(other)
    count = len(made(server))
    prompt(other).press("Control+Enter")
    until(lambda: len(made(server)) > count, SECONDS)
    again = made(server)[-1]
    assert again != first and np.array_equal(pixels(again), pixels(first))


def test_a_saved_picture_is_something_to_start_from(page: Any, server: Server) -> None:
    prompt(page).fill("a yellow star on a green background")
    fill(page, "seed", "5")
    draw(page, lambda: page.click("#generate-start"))
    page.locator("#generate-results").get_by_role("tab").nth(-1).click()
    page.locator("#history-grid button").first.click()
    page.wait_for_selector("#history-to-source")
    until(lambda: page.locator("#history-parameters textarea").input_value().startswith("a yellow star"))
    source = made(server)[-1]
    page.click("#generate-source-section > button")
    page.wait_for_selector("#generate-source canvas")
    settled(page)
    page.click("#history-to-source")
    settled(page)
    page.wait_for_timeout(1000)  # the editor draws it
    page.locator("#generate-results").get_by_role("tab").first.click()
    fill(page, "source-denoising", "0.2")
    draw(page, lambda: page.click("#generate-start"))
    params = parse_infotext(read_infotext_from_image(made(server)[-1]) or "")[2]
    assert params["Denoising strength"] == "0.2" and params["Source picture"]
    assert 0 < np.abs(pixels(made(server)[-1]) - pixels(source)).mean() < 30


def test_batches_are_seen_on_their_way_and_stopped_with_what_is_done(page: Any, server: Server) -> None:
    before = len(made(server))
    prompt(page).fill("a red house on a white background")
    fill(page, "steps", "150")
    fill(page, "batch_count", "20")
    page.click("#generate-advanced > button")
    fill(page, "preview_every", "1")
    page.click("#generate-start")
    page.wait_for_selector("#generate-status img.preview", timeout=SECONDS * 1000)
    until(lambda: len(made(server)) > before, SECONDS)
    page.click("#generate-skip")
    page.wait_for_timeout(1500)
    page.keyboard.press("Escape")
    until(lambda: t("text.gen.stopped", "en") in page.inner_text("#generate-status"), SECONDS)
    count = len(made(server)) - before
    assert 0 < count < 20
    until(lambda: page.locator("#generate-gallery img").count() >= count)
    seeds = [parse_infotext(read_infotext_from_image(file) or "")[2]["Seed"] for file in made(server)[before:]]
    assert len(set(seeds)) == count
