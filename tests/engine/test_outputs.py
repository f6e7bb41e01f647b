"""Saved pictures: newest first, found by their prompts, never deleted and never outside their folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import PathError
from engine.formats.infotext import encode_picture
from engine.outputs import TRASH, Page, add_to_dataset, find, infotext, pictures, restore, trash
from engine.workspace import Workspace

PIXEL = Image.new("RGB", (2, 2))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "data").prepare()


def save(workspace: Workspace, name: str, text: str, seconds: int) -> Path:
    file = workspace.outputs / name
    file.parent.mkdir(parents=True, exist_ok=True)
    format = {".jpg": "jpeg", ".webp": "webp"}.get(file.suffix, "png")
    file.write_bytes(encode_picture(PIXEL, text, format)[0])
    os.utime(file, (seconds, seconds))
    return file


def test_newest_first_in_pages(workspace: Workspace) -> None:
    for number in range(7):
        save(
            workspace, f"2025-01-0{number % 3 + 1}/{number}.{('png', 'jpg', 'webp')[number % 3]}", f"cat {number}", 1000 + number
        )
    (workspace.outputs / "notes.txt").write_text("no picture")
    save(workspace, ".hidden/9.png", "cat", 2000)
    assert pictures(workspace, count=3) == Page(["2025-01-01/6.png", "2025-01-03/5.webp", "2025-01-02/4.jpg"], 7)
    assert pictures(workspace, start=6, count=3) == Page(["2025-01-01/0.png"], 7)
    assert pictures(workspace, start=70) == Page([], 7)
    assert infotext(workspace, "2025-01-02/4.jpg") == "cat 4"


def test_words_of_the_prompt_find_a_picture(workspace: Workspace) -> None:
    save(workspace, "a.png", "A Red CAT, Ｗｉｄｅ 青い家\nNegative prompt: dog\nSteps: 1, Seed: 2, Eta: 0", 3)
    save(workspace, "b.webp", "a red dog", 2)
    save(workspace, "c.jpg", "", 1)
    (workspace.outputs / "broken.png").write_bytes(b"\x89PNG")

    def found(words: str) -> list[str]:
        return sorted(pictures(workspace, words).names)

    assert found("red cat") == found("wide  CAT") == found("青い") == ["a.png"]
    assert found("RED") == ["a.png", "b.webp"] and found("dog") == ["b.webp"]  # the negative prompt is what is not in it
    assert found("steps") == found("red bird") == []
    assert len(found("")) == 4
    save(workspace, "b.webp", "a blue dog now", 9)  # a replaced picture is never stale
    assert found("blue") == ["b.webp"] and found("red dog") == []


def test_thousands_are_searched_quickly(workspace: Workspace) -> None:
    data = encode_picture(PIXEL, "a cat, sitting\nSteps: 1, Seed: 2, Eta: 0", "png")[0]
    for number in range(3000):
        (workspace.outputs / f"{number}.png").write_bytes(data)
    assert pictures(workspace, "cat").total == 3000
    started = time.perf_counter()
    assert pictures(workspace, "sitting cat").total == 3000
    assert time.perf_counter() - started < 1


def test_what_is_deleted_can_be_put_back(workspace: Workspace) -> None:
    file = save(workspace, "2025-01-01/a.png", "one", 1)
    content = file.read_bytes()
    gone = trash(workspace, "2025-01-01/a.png")
    assert not file.exists() and pictures(workspace) == Page([], 0)
    assert (workspace.outputs / TRASH / gone).read_bytes() == content
    save(workspace, "2025-01-01/a.png", "two", 1)
    again = trash(workspace, "2025-01-01/a.png")
    assert again != gone
    assert restore(workspace, gone) == "2025-01-01/a.png" and file.read_bytes() == content
    assert restore(workspace, again) == "2025-01-01/a-1.png"
    assert (infotext(workspace, "2025-01-01/a.png"), infotext(workspace, "2025-01-01/a-1.png")) == ("one", "two")
    with pytest.raises(PathError) as missing:
        restore(workspace, gone)
    assert missing.value.code == "output.missing"


@pytest.mark.parametrize(
    "name", ["../jobs.sqlite3", "/etc/passwd", "a\0.png", "..", "", ".", "none.png", "link.png", ".trash/x.png", "notes.txt", "~/x.png"]
)  # fmt: skip
def test_no_name_leads_elsewhere(workspace: Workspace, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "secret.png"
    outside.write_bytes(encode_picture(PIXEL, "", "png")[0])
    (workspace.outputs / "link.png").symlink_to(outside)
    save(workspace, f"{TRASH}/x.png", "", 1)
    (workspace.outputs / "notes.txt").write_text("x")
    for ask in (find, infotext, trash, restore):
        if (ask, name) == (restore, "~/x.png"):
            continue
        with pytest.raises(PathError) as refused:
            ask(workspace, name)
        assert refused.value.code in ("path.outside", "output.missing")
    assert outside.exists() and pictures(workspace).names == []


def test_a_picture_becomes_a_training_picture_with_its_prompt(workspace: Workspace) -> None:
    name = "2026-11-24/1.png"
    save(workspace, name, "a (red:1.2) cat <lora:mine:0.8>, sitting\nSteps: 20, Sampler: Euler, Seed: 1", 1)
    added = [add_to_dataset(workspace, name) for _ in range(2)]
    folder = workspace.root / "datasets" / "generated"
    assert added[0] == added[1] and (folder / added[0]).read_bytes() == (workspace.outputs / name).read_bytes()
    assert (folder / added[0]).with_suffix(".txt").read_text() == "a red cat , sitting"
    with pytest.raises(PathError):
        add_to_dataset(workspace, "../jobs.sqlite3")
    with pytest.raises(PathError):
        add_to_dataset(workspace, name, "../elsewhere")
