"""The page in a real browser: both languages, wrong input at its field, narrow, dark, offline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.browser import TABS, tab, tab_head, until
from webui.i18n import t, table

LOCALES = {"en-US": "en", "ja-JP": "ja"}
PROOF = {
    "dataset": ".room-invitation",
    "lora": "#train-start",
    "generate": "#generate-start",
    "runs": "#runs-list",
    "library": "#library-view h3",
    "settings": "#settings-folders dd",
}


def enter(page: Any, name: str) -> None:
    """Go to a tab and wait for what is on it."""
    tab(page, name)
    page.wait_for_selector(PROOF[name])


def box(page: Any, id: str) -> Any:
    """The input of a field."""
    return page.locator(f"#{id} input, #{id} textarea").first


def fill(page: Any, id: str, words: str) -> None:
    box(page, id).fill(words)
    box(page, id).press("Tab")


@pytest.mark.parametrize("locale", LOCALES)
def test_every_tab_opens_in_both_languages(open_page: Callable, locale: str) -> None:
    page, words = open_page(locale), table(LOCALES[locale])
    assert page.inner_text("#train-start") == words["form.start"]
    assert words["model.path.label"] in page.inner_text("#train-model-path")
    assert words["model.path.help"][:12].replace("`", "") in page.inner_text("#train-model-path").replace("`", "")
    assert page.locator("html").get_attribute("lang") == LOCALES[locale]
    until(lambda: words["lora.plan_title"] in page.inner_text("#train-plan"))
    for name in TABS:
        enter(page, name)
        assert tab_head(page, name).inner_text() == words[f"tab.{name}"]
    assert words["text.lib.models"] in page.inner_text("#library-view") if page.is_visible("#library-view") else True


def test_the_language_can_be_chosen(open_page: Callable) -> None:
    page = open_page("en-US")
    enter(page, "settings")
    page.get_by_label(t("text.language_name", "ja")).click()
    until(lambda: page.is_visible("#train-start") and page.inner_text("#train-start") == table("ja")["form.start"])
    until(lambda: table("ja")["lora.plan_title"] in page.inner_text("#train-plan"))


@pytest.mark.parametrize("locale", LOCALES)
def test_what_will_happen_is_told(open_page: Callable, locale: str) -> None:
    page, code = open_page(locale), LOCALES[locale]
    fill(page, "train-dataset-folder", "practice/mascot")
    until(lambda: page.locator("#train-strip img").count() == 16)
    assert "16" in page.inner_text("#train-strip")
    assert t("text.from.data", code) in page.inner_text("#train-plan")
    until(lambda: t("text.problem.name_empty", code) in page.inner_text("#train-plan"))
    fill(page, "train-output-name", "robot")
    until(lambda: t("text.plan.ready", code) in page.inner_text("#train-plan"))


def test_the_preset_fills_the_form(open_page: Callable) -> None:
    page = open_page()
    page.click("#train-preset input")
    page.get_by_role("option").first.click()
    until(lambda: box(page, "train-dataset-trigger").input_value() == "mofumo")
    assert box(page, "train-output-name").input_value().startswith("my-mascot")
    page.click("#train-advanced > button")
    page.click("#train-section-training > button")
    page.wait_for_selector("#train-training-max_steps")
    assert box(page, "train-training-max_steps").input_value() == "150"
    assert box(page, "train-training-epochs").input_value() == ""
    until(lambda: t("text.from.preset", "en") in page.inner_text("#train-plan"))


@pytest.mark.parametrize("locale", LOCALES)
def test_a_wrong_number_is_told_at_its_field_and_nothing_is_lost(open_page: Callable, locale: str) -> None:
    page, code = open_page(locale), LOCALES[locale]
    fill(page, "train-output-name", "robot")
    page.click("#train-advanced > button")
    page.click("#train-section-training > button")
    page.wait_for_selector("#train-training-learning_rate")
    fill(page, "train-training-learning_rate", "99")
    wrong = t("text.problem.number", code, low=0, high=10)
    until(lambda: wrong in page.inner_text("#train-training-learning_rate"))
    page.click("#train-start")
    until(lambda: page.is_visible("#train-trouble") and wrong in page.inner_text("#train-trouble"))
    assert box(page, "train-output-name").input_value() == "robot"
    fill(page, "train-training-learning_rate", "0.001")
    until(lambda: wrong not in page.inner_text("#train-training-learning_rate"))
    until(lambda: not page.is_visible("#train-trouble"))


@pytest.mark.parametrize(
    ("field", "typed", "key"),
    [
        ("train-dataset-folder", "nothing-here", "dataset.no_pictures"),
        ("train-dataset-folder", "../../etc", "path.outside"),
        ("train-dataset-folder", "/etc", "path.not_allowed"),
        ("train-output-name", "a/b", "path.bad_name"),
        ("train-model-path", "no-such-model", "model.not_found"),
        ("train-model-path", "broken.safetensors", "file.truncated"),
        ("train-model-path", "/etc/passwd", "path.not_allowed"),
    ],
)
def test_bad_input_is_told_at_its_field(open_page: Callable, server: Any, field: str, typed: str, key: str) -> None:
    (server.data / "datasets" / "nothing-here").mkdir(exist_ok=True)
    (server.data / "models" / "checkpoints" / "broken.safetensors").write_bytes(b"\x40\0\0\0\0\0\0\0{}")
    page = open_page("ja-JP")
    fill(page, field, typed)
    start = table("ja")[f"error.{key}.what"].split("{")[0]
    until(lambda: "field-invalid" in (page.locator(f"#{field}").get_attribute("class") or ""))
    shown = page.inner_text(f"#{field}")
    assert start in shown or table("ja")[f"error.{key}.what"].rpartition("}")[2] in shown


def test_what_is_typed_never_becomes_html(open_page: Callable) -> None:
    page = open_page()
    page.evaluate("window.canary = 0")
    bad = "<img src=x onerror='window.canary=1'>"
    fill(page, "train-dataset-folder", bad)
    fill(page, "train-output-name", bad)
    fill(page, "train-dataset-trigger", bad)
    until(lambda: "field-invalid" in (page.locator("#train-output-name").get_attribute("class") or ""))
    page.click("#train-start")
    until(lambda: page.is_visible("#train-trouble"))
    assert page.evaluate("window.canary") == 0
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("locale", LOCALES)
def test_no_sideways_scroll_on_a_phone(open_page: Callable, locale: str) -> None:
    page = open_page(locale, width=390)
    for name in TABS:
        enter(page, name)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0, name


def test_dark_follows_the_system(open_page: Callable) -> None:
    def brightness(page: Any) -> int:
        return page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
        )

    assert brightness(open_page(dark=True)) < 150 < 600 < brightness(open_page())


def test_the_prompt_counts_its_tokens(open_page: Callable) -> None:
    page = open_page()
    enter(page, "generate")
    box(page, "generate-prompt").fill("a red circle <lora:x:1>")
    until(lambda: "/ 75 tokens" in page.inner_text("#generate-tokens"))
    tokens = int(page.inner_text("#generate-tokens").split()[0])
    assert 3 <= tokens <= 20
