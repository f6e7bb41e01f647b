"""The room of a dataset in a real browser: keyboard, editing, taking back, files that change meanwhile, and names that would be scripts.

Served by itself, without the page around it, so that it starts in a moment.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from engine.jobs.store import open_store
from engine.workspace import Workspace
from tests.ui.conftest import free_port
from webui.context import Context
from webui.datasets.app import build
from webui.datasets.gate import Door
from webui.guard import Guard, Hosts

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body><div id="dataset-room"></div><script type="module">
window.told = [];
const room = await import('/atelier/datasets/assets/app.js');
window.store = await room.mount(document.querySelector('#dataset-room'), (verb, detail) => window.told.push([verb, detail]));
</script>"""
NASTY = "<img src=x onerror=window.canary=1>"


@dataclass
class Room:
    url: str
    datasets: Path


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    workspace = Workspace(tmp_path_factory.mktemp("room") / "data").prepare()
    page = Starlette(routes=[Route("/", lambda request: HTMLResponse(PAGE))])
    datasets = build(Context(workspace, open_store(workspace.database)))
    port = free_port()
    served = Guard(Door(page, lambda _: datasets, datasets.state.context), Hosts([]))
    server = uvicorn.Server(uvicorn.Config(served, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield Room(f"http://127.0.0.1:{port}", workspace.root / "datasets")
    server.should_exit = True
    thread.join()


def dataset(room: Room, name: str, count: int) -> Path:
    """Pictures 1.png, 2.png … of which the odd ones have a caption."""
    folder = room.datasets / name
    folder.mkdir()
    for number in range(1, count + 1):
        Image.new("RGB", (64, 48), (number * 37 % 256, 90, 160)).save(folder / f"{number}.png")
        if number % 2:
            (folder / f"{number}.txt").write_text(f"robo, scene {number}")
    return folder


@pytest.fixture()
def enter(browser: Any, room: Room) -> Iterator[Callable[..., Any]]:
    """Open a dataset as somebody with this locale and screen. Afterwards: no script error."""
    contexts, troubles = [], []

    def open_it(name: str, locale: str = "en-US", width: int = 1280) -> Any:
        context = browser.new_context(locale=locale, viewport={"width": width, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(error.stack))
        page.goto(room.url)
        page.click(f'[data-dataset="{name}"]')
        page.wait_for_selector(".room-tile[data-name]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


def tile(page: Any, name: str) -> Any:
    return page.locator(f'.room-tile[data-name="{name}"]')


def at(page: Any) -> str:
    """Where the keyboard is."""
    return page.evaluate("document.activeElement.dataset.name ?? document.activeElement.className")


def selected(page: Any) -> list[str]:
    return page.evaluate("window.atelierDataset.names()")


def until_text(file: Path, text: str) -> None:
    deadline = time.monotonic() + 10
    while not file.exists() or file.read_text() != text:
        assert time.monotonic() < deadline, file.read_text() if file.exists() else "no file"
        time.sleep(0.05)


def test_keyboard_alone_selects_edits_takes_back_and_takes_out(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "keys", 40)
    page = enter("keys")
    keys = page.keyboard
    tile(page, "1.png").focus()
    columns = int(page.get_attribute(".room-canvas", "aria-colcount"))
    keys.press("ArrowRight")
    keys.press("ArrowDown")
    assert at(page) == f"{2 + columns}.png"
    keys.press("Home")
    assert at(page) == f"{1 + columns}.png"
    keys.press("Control+Home")
    keys.press("ArrowUp")
    assert at(page) == "1.png"
    keys.press("Control+End")
    assert at(page) == "40.png"
    keys.press("Control+Home")
    keys.press("Space")
    keys.press("ArrowRight")
    keys.press("ArrowRight")
    keys.press("Space")
    assert selected(page) == ["1.png", "3.png"]
    keys.press("Escape")
    keys.press("Shift+ArrowRight")
    page.wait_for_function("window.atelierDataset.names().length === 2")
    assert selected(page) == ["3.png", "4.png"]
    keys.press("Control+a")
    page.wait_for_function("window.atelierDataset.names().length === 40")
    assert page.inner_text(".room-selected strong") == "40 selected"
    keys.press("Escape")
    page.wait_for_selector(".room-selected", state="hidden")

    keys.press("Control+Home")
    keys.press("Enter")
    keys.press("Control+a")
    keys.type("robo, waving")
    keys.press("Tab")  # saves, and on to the next
    keys.type("robo, sitting")
    keys.press("Control+s")
    assert at(page) == "2.png"
    until_text(folder / "1.txt", "robo, waving")
    until_text(folder / "2.txt", "robo, sitting")
    keys.press("Enter")
    keys.type(" and not meant")
    keys.press("Escape")
    assert tile(page, "2.png").locator(".room-text").inner_text() == "robo, sitting"
    page.wait_for_function("document.querySelector('[aria-label^=Undo]').title.includes('2.png')")
    keys.press("Control+z")
    page.wait_for_function("document.querySelector('[aria-label^=Undo]').title.includes('1.png')")
    assert not (folder / "2.txt").exists()
    keys.press("Control+Shift+z")
    until_text(folder / "2.txt", "robo, sitting")

    tile(page, "2.png").focus()
    keys.press("Delete")
    page.wait_for_selector('.room-tile[data-name="2.png"]', state="detached")
    assert (folder / "_excluded" / "2.png").is_file()
    page.get_by_role("button", name="Undo", exact=True).click()  # in the notice
    tile(page, "2.png").wait_for()
    assert (folder / "2.txt").read_text() == "robo, sitting"


def test_what_an_input_method_composes_is_left_alone(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "ime", 2)
    page = enter("ime", locale="ja-JP")
    tile(page, "1.png").locator(".room-text").click()
    page.keyboard.press("End")
    page.keyboard.type("、ロボ")
    page.evaluate(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))"
    )
    page.evaluate(
        "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', isComposing: true, bubbles: true}))"
    )
    assert at(page) == "room-editor"
    page.keyboard.press("Enter")
    until_text(folder / "1.txt", "robo, scene 1、ロボ")


def test_a_file_that_changes_meanwhile_loses_nobody_s_text(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "conflict", 3)
    page = enter("conflict")
    for choice, kept in (("Keep mine", "mine, typed"), ("Take theirs", "theirs, written")):
        (folder / "1.txt").write_text("robo, scene 1")
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        tile(page, "1.png").get_by_text("robo, scene 1").click()
        (folder / "1.txt").write_text("theirs, written")
        page.keyboard.press("Control+a")
        page.keyboard.type("mine, typed")
        page.keyboard.press("Enter")
        dialog = page.locator("dialog[open]")
        dialog.wait_for()
        assert "mine, typed" in dialog.inner_text() and "theirs, written" in dialog.inner_text()
        dialog.get_by_role("button", name=choice).click()
        tile(page, "1.png").get_by_text(kept).wait_for()
        until_text(folder / "1.txt", kept)
        page.wait_for_function("!document.querySelector('.room-flag.unsaved')")


def test_many_captions_are_edited_after_a_look_at_what_changes(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "bulk", 6)
    page = enter("bulk")
    page.locator(".room-tag", has_text="robo").click()
    page.wait_for_function("window.store.found === 3")
    page.get_by_role("tab", name="Edits").click()
    page.locator("#room-panel-edits select").first.select_option("remove")
    page.fill("[data-field=tags]", "robo")
    page.get_by_text("Changes 3 of 3 captions").wait_for()
    assert [each.inner_text() for each in page.locator(".room-preview del").all()] == ["robo, "] * 3
    page.get_by_role("button", name="Apply").click()
    page.get_by_text("3 captions changed").wait_for()
    until_text(folder / "5.txt", "scene 5")
    page.get_by_text("No picture fits these filters").wait_for()
    page.get_by_role("button", name="Undo", exact=True).click()
    until_text(folder / "5.txt", "robo, scene 5")
    page.wait_for_function("window.store.found === 3")
    page.locator(".room-chips .room-chip.on", has_text="robo").click()
    page.wait_for_function("window.store.found === 6")


def test_names_and_captions_that_would_be_scripts_are_text(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "nasty", 2)
    names = [
        f"{NASTY.replace('/', '')}.png",
        "javascript:window.canary=1.png",
        '"><svg onload=window.canary=1>.png',
        "&lt;b&gt; {name} %2e.png",
    ]
    for name in names:
        Image.new("RGB", (32, 32)).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(f"{NASTY}, javascript:window.canary=1, <script>window.canary=1</script>")
    inner = folder / f"3_{NASTY}"
    inner.mkdir()
    Image.new("RGB", (32, 32)).save(inner / "x.png")
    (folder / "dataset.yaml").write_text(f"trigger: '{NASTY}'\n")
    page = enter("nasty")
    page.wait_for_function("document.querySelectorAll('.room-tile img').length === 7")
    assert page.locator(".room-text", has_text="<script>").first.inner_text().startswith(NASTY)
    for panel in ("Edits", "Check", "Buckets", "About", "Tags"):
        page.get_by_role("tab", name=panel).click()
    page.locator(".room-tag", has_text="<img").first.click()
    page.wait_for_function("window.store.found === 4")
    page.fill("input[type=search] >> nth=0", "<script> window")
    page.wait_for_selector(".room-text mark")
    page.get_by_role("tab", name="Edits").click()
    page.locator("#room-panel-edits select").first.select_option("add")
    page.fill("[data-field=tags]", NASTY + "x")
    page.wait_for_selector(".room-preview ins")
    tile(page, names[1]).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Delete")
    page.wait_for_selector(".room-toast")
    page.keyboard.press("Control+z")
    page.wait_for_selector(".room-toast:has-text('Taken back')")
    page.evaluate("window.store.close()")
    page.wait_for_selector(".room-card")
    page.wait_for_timeout(300)
    assert page.evaluate("window.canary") is None
    assert page.evaluate("document.querySelectorAll('.room img[src=x], .room script, .room a[href^=javascript]').length") == 0


def test_ten_thousand_pictures_keep_few_in_the_page(room: Room, enter: Callable[..., Any]) -> None:
    folder = dataset(room, "many", 1)
    for number in range(2, 2001):
        (folder / f"{number}.png").hardlink_to(folder / "1.png")
    page = enter("many")
    page.wait_for_function("window.store.info.whole && window.store.found === 2000")
    page.evaluate("document.querySelector('.room-scroller').scrollTop = 1e9")
    tile(page, "2000.png").wait_for()
    assert page.locator(".room-tile").count() < 100
    tile(page, "2000.png").click()
    page.evaluate("document.querySelector('.room-scroller').scrollTop = 0")
    tile(page, "1.png").click(modifiers=["Shift"])
    page.wait_for_function("window.atelierDataset.names().length === 2000")


@pytest.mark.parametrize("locale", ["en-US", "ja-JP"])
def test_a_narrow_screen_needs_no_scrolling_sideways(room: Room, enter: Callable[..., Any], locale: str) -> None:
    page = enter("practice/mascot", locale=locale, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator(".room-notice").is_visible()
    page.locator(".room-text").first.click()
    assert page.locator(".room-editor").count() == 0  # it ships with the program
    page.get_by_role("tab").first.click()
    page.wait_for_selector(".room-taglist li")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
