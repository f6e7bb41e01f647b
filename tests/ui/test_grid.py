"""From a finished run to the suggestion, clicked in a real browser: its epochs compared, a cell looked at, the suggestion used, a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import load, nested
from engine.config.train import TrainConfig
from engine.jobs import actions
from engine.workspace import Workspace
from tests.support.browser import settled, tab, until
from tests.ui.conftest import Server, start
from webui.i18n import t

PRESET = Path(__file__).parents[2] / "presets" / "starter" / "character.yaml"
SECONDS_TO_WORK = 240


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the other tests count the runs and pictures of theirs."""
    running = start(tmp_path_factory.mktemp("grid") / "data")
    yield running
    running.interrupt()


def fill(page: Any, id: str, words: str) -> None:
    box = page.locator(f"#{id} input, #{id} textarea").first
    box.fill(words)
    box.press("Tab")


def cells(page: Any) -> int:
    return page.locator("#grid-view [data-cell] img").count()


def test_the_epochs_of_a_run_are_compared(open_page: Callable, server: Server) -> None:
    short = {
        "training.max_steps": 4, "training.batch_size": 2, "samples.count": 1, "samples.steps": 1, "output.save_count": 2,
        "output.name": "gull",
    }  # fmt: skip
    actions.start_training(load(TrainConfig, PRESET, nested(short)), Workspace(server.data))
    page = open_page("en-US")
    tab(page, "runs")
    until(lambda: page.locator(".run-row").count() == 1)
    page.click(".run-row")
    until(lambda: page.is_visible("#runs-compare"), SECONDS_TO_WORK)
    page.click("#runs-compare")
    until(lambda: t("text.grid.count", "en", count=18)[:11] in page.inner_text("#grid-line"))
    assert "<lora:gull:0.8>" in page.input_value("#generate-prompt textarea")

    fill(page, "grid-x-values", "much")
    until(lambda: "'much'" in page.inner_text("#grid-x-values") and "'much'" in page.inner_text("#grid-line"))
    fill(page, "grid-x-values", "0.5, 1")
    until(lambda: "10 pictures" in page.inner_text("#grid-line") and "much" not in page.inner_text("#grid-x-values"))
    fill(page, "generate-steps", "2")
    fill(page, "generate-seed", "7")
    settled(page)
    page.click("#grid-start")
    until(lambda: cells(page) > 0)
    until(lambda: page.locator("#grid-shortlist .score").count() == 4, SECONDS_TO_WORK)
    until(lambda: cells(page) == 12)  # the base column is made once for both versions

    page.locator("#grid-view tbody tr").nth(1).locator("[data-cell]").nth(2).click()
    until(lambda: page.is_visible("#grid-parameters"))
    assert "<lora:gull:1>" in page.input_value("#grid-parameters textarea") and "Seed: 7," in page.input_value(
        "#grid-parameters textarea"
    )
    assert page.locator("#grid-view .chosen").count() == 1
    page.click("#grid-use")
    until(lambda: page.input_value("#generate-prompt textarea") == "mofumo on a pink background<lora:gull:1>")
    page.click("#grid-close")
    until(lambda: not page.is_visible("#grid-parameters"))

    page.click("#grid-shortlist .use")
    until(lambda: page.is_visible("#grid-notice"))
    called = page.inner_text("#grid-notice").split(" is ")[0]
    assert called.startswith("<lora:gull") and page.input_value("#generate-prompt textarea").endswith(called)
    until(lambda: page.locator(".adapter.in-use").count() == 1)


def test_a_stopped_grid_keeps_what_is_done_and_a_reload_shows_it(open_page: Callable, server: Server) -> None:
    page = open_page("ja-JP", width=390)
    tab(page, "generate")
    fill(page, "generate-prompt", "mofumo on the beach <lora:gull:1>")
    fill(page, "generate-steps", "60")
    page.click("#generate-grid > button")
    until(lambda: t("text.grid.count", "ja", count=6)[:3] in page.inner_text("#grid-line"))
    settled(page)
    page.click("#grid-start")
    until(lambda: page.is_visible("#grid-stop") and cells(page) in range(1, 6), SECONDS_TO_WORK)
    page.keyboard.press("Escape")
    until(lambda: not page.is_visible("#grid-stop"))
    until(lambda: t("text.grid.stopped", "ja", made=cells(page), total=6) in page.inner_text("#grid-status"))
    stopped = t("text.grid.stopped", "ja", made=cells(page), total=6)
    assert page.locator("#grid-view .missing").count() == 6 - cells(page)
    page.reload()
    tab(page, "generate")
    page.locator("#generate-results").get_by_role("tab").nth(1).click()
    until(lambda: stopped in page.inner_text("#grid-status"))
