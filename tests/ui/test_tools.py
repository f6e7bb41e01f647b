"""Another algorithm is chosen and trained; then its file is looked at, made a small plain LoRA by a tool, and taken to Generate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.formats.summary import describe
from tests.support.browser import tab, until
from tests.ui.conftest import Server, start
from webui.i18n import t, table

SECONDS_TO_WORK = 180


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the other tests count the runs of theirs."""
    running = start(tmp_path_factory.mktemp("tools") / "data")
    yield running
    running.interrupt()


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
    until(lambda: t("text.kind.lokr", "en") in page.inner_text("#train-about"))
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


def test_a_file_is_looked_at_and_made_a_lora_of_rank_2(open_page: Callable, server: Server) -> None:
    if not (server.data / "loras" / "my-mascot.safetensors").exists():
        pytest.skip("there is no file to look at")
    page = open_page("ja-JP")
    tab(page, "library")
    page.click("#library-view [data-adapter='my-mascot']")
    page.wait_for_selector("#library-detail .bars")
    detail = page.inner_text("#library-detail")
    assert "LoKr" in detail and "mofumo" in detail and "AUTOMATIC1111" in detail

    assert page.locator("#tool-tool-file input").input_value() == "my-mascot"
    choose(page, "tool-tool-kind", t("tools.tool.kind.choice.merge", "ja"))
    page.wait_for_selector("#tool-tool-files")
    assert not page.is_visible("#tool-tool-file")
    page.click("#tool-start")
    until(lambda: t("error.tool.no_file.what", "ja") in page.inner_text("#tool-trouble"))
    choose(page, "tool-add", "my-mascot")
    until(lambda: page.locator("#tool-tool-files textarea").input_value() == "my-mascot:1")
    page.click("#tool-start")
    until(lambda: t("error.tool.needs_base.todo", "ja") in page.inner_text("#tool-report"), SECONDS_TO_WORK)
    fill(page, "tool-tool-model", "starter")
    page.click("#tool-advanced > button")
    page.wait_for_selector("#tool-tool-svd_rank")
    fill(page, "tool-tool-svd_rank", "2")
    page.wait_for_timeout(1600)  # sooner it would be the second half of a double click
    page.click("#tool-start")
    saved = t("text.tool.saved", "ja", file="my-mascot-merge.safetensors")
    until(lambda: saved in page.inner_text("#tool-report"), SECONDS_TO_WORK)
    assert not page.is_visible("#tool-trouble")
    until(lambda: page.locator("#library-view [data-adapter]").count() == 2)
    page.click("#tool-show")
    until(lambda: "<lora:my-mascot-merge:0.8>" in page.inner_text("#library-detail"))
    tab(page, "runs")
    until(lambda: page.locator(".run-row").count() == 3)
    page.locator(".run-row").first.click()
    until(lambda: "my-mascot-merge.safetensors" in page.inner_text("#runs-tool"))
    tab(page, "library")
    page.click("#library-try")
    prompt = page.locator("#generate-prompt textarea")
    until(lambda: prompt.is_visible() and prompt.input_value() == "mofumo <lora:my-mascot-merge:0.8>")
    summary = describe(server.data / "loras" / "my-mascot-merge.safetensors")
    assert (summary.algorithm, summary.ranks) == ("lora", (2,))
