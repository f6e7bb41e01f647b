"""Another algorithm is chosen and trained; then its file is looked at, made smaller by a tool, and taken to Generate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.formats.summary import describe
from tests.ui.conftest import Server, start
from webui.i18n import t, table

TABS = ("lora", "generate", "runs", "library", "settings")
SECONDS_TO_WORK = 300


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the other tests count the runs of theirs."""
    running = start(tmp_path_factory.mktemp("tools") / "data")
    yield running
    running.interrupt()


def until(seen: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab").nth(TABS.index(name)).click()


def choose(page: Any, id: str, words: str) -> None:
    page.locator(f"#{id} input").first.click()
    page.get_by_role("option", name=words, exact=True).click()


def fill(page: Any, id: str, words: str) -> None:
    box = page.locator(f"#{id} input, #{id} textarea").first
    box.fill(words)
    box.press("Tab")


def shown(page: Any, *fields: str) -> list[bool]:
    return [page.is_visible(f"#train-adapter-{field}") for field in fields]


def test_an_algorithm_shows_its_own_fields_and_is_trained(open_page: Callable, server: Server) -> None:
    page = open_page("en-US")
    page.click("#practice-fill")
    page.click("#train-advanced > button")
    for section in ("adapter", "training", "samples"):
        page.click(f"#train-section-{section} > button")
    page.wait_for_selector("#train-adapter-rank")
    assert shown(page, "rank", "decompose", "factor", "side") == [True, True, False, False]
    fill(page, "train-adapter-rank", "3")
    choose(page, "train-adapter-kind", "(IA)³")
    until(lambda: shown(page, "rank", "decompose", "factor", "side") == [False, False, False, True])
    choose(page, "train-adapter-kind", "LoKr")
    until(lambda: shown(page, "rank", "decompose", "factor", "side") == [True, True, True, False])
    assert t("text.kind.lokr", "en") in page.inner_text("#train-about")
    assert page.locator("#train-adapter-rank input").input_value() == "3", "what both have stays"

    fill(page, "train-adapter-factor", "0")
    until(lambda: table("en")["text.contradiction.adapter.factor"] in page.inner_text("#train-adapter-factor"))
    fill(page, "train-adapter-factor", "4")
    fill(page, "train-training-max_steps", "2")
    fill(page, "train-samples-count", "0")
    until(lambda: t("text.plan.ready", "en") in page.inner_text("#train-plan") and "LoKr" in page.inner_text("#train-plan"))
    page.click("#train-start")
    page.wait_for_selector("#run-panel")
    until(lambda: page.locator("#run-head .state-done").count() == 1, SECONDS_TO_WORK)
    assert t("text.run.learning", "en") in page.inner_text("#run-files")
    summary = describe(server.data / "loras" / "my-mascot.safetensors")
    assert (summary.algorithm, summary.ranks) == ("lokr", (3, 8))  # the preset gives convolutions 8


def test_a_file_is_looked_at_and_made_smaller(open_page: Callable, server: Server) -> None:
    if not (server.data / "loras" / "my-mascot.safetensors").exists():
        pytest.skip("there is no file to look at")
    page = open_page("ja-JP")
    tab(page, "library")
    page.click("#library-view [data-adapter='my-mascot']")
    page.wait_for_selector("#library-detail .bars")
    detail = page.inner_text("#library-detail")
    assert "LoKr" in detail and "mofumo" in detail and "AUTOMATIC1111" in detail

    choose(page, "tool-tool-kind", t("tools.tool.kind.choice.resize", "ja"))
    page.wait_for_selector("#tool-tool-rank")
    assert page.locator("#tool-tool-file input").input_value() == "my-mascot"
    assert not page.is_visible("#tool-tool-files")
    fill(page, "tool-tool-rank", "0")
    page.click("#tool-start")
    until(lambda: page.is_visible("#tool-trouble"))
    fill(page, "tool-tool-rank", "2")
    page.click("#tool-start")
    until(
        lambda: t("text.tool.saved", "ja", file="my-mascot-resize.safetensors") in page.inner_text("#tool-report"),
        SECONDS_TO_WORK,
    )
    assert not page.is_visible("#tool-trouble")
    until(lambda: page.locator("#library-view [data-adapter]").count() == 2)
    page.click("#tool-show")
    until(lambda: "<lora:my-mascot-resize:0.8>" in page.inner_text("#library-detail"))
    tab(page, "runs")
    until(lambda: page.locator(".run-row").count() == 2)
    page.locator(".run-row").first.click()
    until(lambda: "my-mascot-resize.safetensors" in page.inner_text("#runs-tool"))
    tab(page, "library")
    page.click("#library-try")
    prompt = page.locator("#generate-prompt textarea")
    until(lambda: prompt.is_visible() and prompt.input_value() == "mofumo <lora:my-mascot-resize:0.8>")
    assert max(describe(server.data / "loras" / "my-mascot-resize.safetensors").ranks) == 2
