"""The gallery of saved pictures: pages, search, the chosen one, and the trash, as a browser would ask for them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from engine.formats.infotext import encode_picture
from engine.jobs.store import open_store
from engine.workspace import Workspace
from webui.context import Context
from webui.widgets.history import COUNT, History
from webui.widgets.previews import url

GUEST: Any = SimpleNamespace(username="guest", cookies={}, headers={})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    workspace = Workspace(tmp_path / "data").prepare()
    for number in range(COUNT + 3):
        file = workspace.outputs / "day" / f"{number:02}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode_picture(Image.new("RGB", (600, 300)), f"{'cat' if number % 2 else 'dog'} {number}")[0])
        os.utime(file, (1000 + number, 1000 + number))
    return workspace


@pytest.fixture
def history(workspace: Workspace) -> History:
    with gr.Blocks():
        return History(Context(workspace, open_store(workspace.database), guest="guest"))


def load(history: History, words: str = "", start: int = 0) -> list[Any]:
    return history.load(None, words, start)  # type: ignore[arg-type]  # nobody asks: English


def test_pages_of_small_copies(history: History, workspace: Workspace) -> None:
    start, html, newer, older = load(history)
    assert (start, newer["interactive"], older["interactive"]) == (0, False, True)
    assert html.count("data-name=") == COUNT and f"1 to {COUNT} of {COUNT + 3}" in html
    assert html.index("day/26.png") < html.index("day/25.png") and html.count("/cache/previews/") == COUNT
    start, html, newer, older = load(history, start=COUNT)
    assert (html.count("data-name="), newer["interactive"], older["interactive"]) == (3, True, False)
    assert load(history, start=10 * COUNT)[0] == COUNT  # there are fewer than there were
    assert load(history, "dog 4")[1].count("data-name=") == 3  # 4, 14 and 24
    assert "No prompt" in load(history, "bird")[1]


def test_the_chosen_picture_is_the_original(history: History, workspace: Workspace) -> None:
    event: Any = SimpleNamespace(_data={"name": "day/07.png"})
    name, _, html, parameters, *_ = history._choose(None, event)  # type: ignore[arg-type]
    assert (name, parameters) == ("day/07.png", "cat 7") and html.count(url(workspace.outputs / "day" / "07.png")) == 2
    assert history.file(name) == workspace.outputs / "day" / "07.png" and history.file("../x.png") is None


@pytest.mark.parametrize("name", ["../../x.png", "/etc/passwd", "<img src=x onerror=alert(1)>.png", "", None])
def test_a_name_that_is_no_picture_is_told(history: History, name: Any) -> None:
    updates = history._choose(None, SimpleNamespace(_data={"name": name}))  # type: ignore[arg-type]
    assert "note-bad" in updates[4]["value"] and "<img" not in updates[4]["value"]


def test_deleted_and_put_back(history: History, workspace: Workspace) -> None:
    *shown, _, html, _, _ = history._delete(None, "day/26.png", "", 0)  # type: ignore[arg-type]
    chosen, detail, _, _, notice, trashed, undo = shown
    assert (chosen, detail["visible"], undo["visible"]) == ("", False, True) and "day/26.png" in notice["value"]
    assert f"of {COUNT + 2}" in html and not (workspace.outputs / "day" / "26.png").exists()
    back = history._restore(None, trashed, "", 0)  # type: ignore[arg-type]
    assert back[0] == "day/26.png" and back[6]["visible"] is False and f"of {COUNT + 3}" in back[8]


def test_guests_delete_nothing(history: History, workspace: Workspace) -> None:
    updates = history._delete(GUEST, "day/26.png", "", 0)
    assert "note-bad" in updates[4]["value"] and (workspace.outputs / "day" / "26.png").exists()


def test_hostile_file_names_stay_text(history: History, workspace: Workspace) -> None:
    (workspace.outputs / "<img src=x onerror=alert(1)>{{x}}.png").write_bytes(encode_picture(Image.new("RGB", (4, 4)), "")[0])
    html = load(history)[1]
    assert "onerror" in html and "<img src=x" not in html and "{{" not in html
