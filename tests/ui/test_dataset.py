"""From sixteen pictures on the desk to a run that can be started, clicked in a real browser in both languages.

The screens of the way are kept in the folder that ATELIER_SCREENS names, for people to look at.
"""

from __future__ import annotations

import base64
import io
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.datasets.dataset_file import read_dataset_file
from engine.datasets.scan import scan
from engine.starter.world import mascot_scenes, render
from tests.support.browser import settled, tab, until
from tests.ui.conftest import Server, start
from webui.i18n import t

PICTURES = 16
SECONDS_TO_TAG = 120


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the other tests count the datasets of theirs."""
    running = start(tmp_path_factory.mktemp("dataset") / "data")
    yield running
    running.interrupt()


def heap() -> list[tuple[str, bytes]]:
    """Sixteen pictures as people have them: one twice, one that is called what it is not."""
    rng, files = random.Random(3), []
    for number, scene in enumerate(mascot_scenes(PICTURES - 1, 3)):
        stream = io.BytesIO()
        wrong = number == 4
        render(scene, rng, size=96).save(stream, "PNG")
        files.append((f"絵 {number + 1}.{'jpg' if wrong else 'png'}", stream.getvalue()))
    return [*files, ("絵 1 (copy).png", files[0][1])]


def drop(page: Any, selector: str, files: list[tuple[str, bytes]]) -> None:
    """Let files fall onto an element, as a hand does."""
    given = [[name, base64.b64encode(content).decode()] for name, content in files]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, content] of files)
                transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name, { type: 'image/png' }));
            return transfer;
        }""",
        given,
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(selector, event, {"dataTransfer": transfer})


def keep(page: Any, name: str) -> None:
    if folder := os.environ.get("ATELIER_SCREENS"):
        page.screenshot(path=str(Path(folder) / f"dataset-{name}.png"))


def captions(page: Any) -> list[str]:
    return page.locator(".room-tile .room-text").all_inner_texts()


def codes(page: Any) -> set[str]:
    return set(page.locator(".room-finding").evaluate_all("(found) => found.map((each) => each.dataset.code)"))


def mend(page: Any, code: str) -> None:
    """Press the remedies of a finding, one after the other, until it is gone."""
    rows = page.locator(f".room-finding[data-code='{code}'] li .room-button")
    while left := rows.count():
        rows.first.click()
        until(lambda: rows.count() < left)  # waited for at once


@pytest.mark.parametrize(("locale", "dark", "name"), [("en-US", False, "mofumo"), ("ja-JP", True, "もふも")])
def test_from_a_heap_of_pictures_to_a_run(open_page: Callable, server: Server, locale: str, dark: bool, name: str) -> None:
    language = locale[:2]
    page = open_page(locale, dark=dark)
    tab(page, "dataset")
    page.wait_for_selector(".room-invitation")
    keep(page, f"{language}-1-start")

    drop(page, ".room", heap())
    page.fill(".room-dialog input", name)
    page.locator(".room-dialog footer .room-button").click()
    until(lambda: page.locator(".room-tile img").count() >= PICTURES)
    assert len(list((server.data / "datasets" / name).iterdir())) >= PICTURES

    page.click("[aria-controls=room-panel-concepts]")
    page.fill(".room-form input[type=text]", "mofumo")
    page.press(".room-form input[type=text]", "Tab")
    folder = server.data / "datasets" / name
    until(lambda: (told := read_dataset_file(folder)) is not None and told.trigger == "mofumo")

    page.locator("#caption-bench button.label-wrap").first.click()
    page.wait_for_selector("#caption-start")
    until(lambda: page.locator("#caption-trigger input, #caption-trigger textarea").input_value() == "mofumo")
    settled(page)
    page.click("#caption-try")
    until(lambda: page.locator("#caption-report figure").count() == 3, SECONDS_TO_TAG)
    assert not any(file.suffix == ".txt" for file in folder.iterdir())
    keep(page, f"{language}-2-try")
    page.click("#caption-start")
    until(lambda: len(list(folder.glob("*.txt"))) == PICTURES, SECONDS_TO_TAG)
    until(lambda: all(caption.startswith("mofumo, ") and "one-eyed" in caption for caption in captions(page)))
    keep(page, f"{language}-3-captions")

    page.click("[aria-controls=room-panel-check]")
    page.locator(".room-checked .room-button").click()
    page.wait_for_selector(".room-verdict.fix_first")
    assert {"picture.wrong_extension", "picture.duplicate"} <= codes(page)
    keep(page, f"{language}-4-findings")
    for code in ("picture.wrong_extension", "picture.duplicate", "picture.near_duplicate"):
        if code in codes(page):
            mend(page, code)
    page.locator(".room-checked .room-button").click()
    page.wait_for_selector(".room-verdict.ready")
    keep(page, f"{language}-5-ready")
    left = len(scan(folder).pictures)
    assert left < PICTURES and left + len(list((folder / "_excluded").glob("*.png"))) == PICTURES

    page.locator(".room-verdict .room-button").click()
    until(lambda: page.is_visible("#train-start"))
    until(lambda: page.locator("#train-dataset-folder input").input_value() == name)
    assert page.locator("#train-dataset-trigger input, #train-dataset-trigger textarea").input_value() == "mofumo"
    assert page.locator("#train-output-name input, #train-output-name textarea").input_value().startswith("mofumo")
    until(lambda: t("text.plan.ready", language) in page.inner_text("#train-plan"))
    keep(page, f"{language}-6-train")
