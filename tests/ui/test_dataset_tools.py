"""Pictures brought in, cut, turned, masked, sorted into buckets and put right, clicked in a real browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.browser import tab, until
from tests.ui.conftest import Server, start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A program of its own: the other tests count the datasets of theirs."""
    running = start(tmp_path_factory.mktemp("tools") / "data")
    yield running
    running.interrupt()


def png(width: int, height: int, seed: int = 0) -> bytes:
    """Stripes, left half red and right half blue."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height))
    for y in range(seed + 3, height, 7 + seed):
        image.paste("white", (0, y, width, y + 1))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def drop(page: Any, files: list[tuple[str, bytes]]) -> None:
    """Let files fall into the room."""
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, content] of files)
                transfer.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
            return transfer;
        }""",
        [[name, base64.b64encode(content).decode()] for name, content in files],
    )
    for event in ("dragenter", "dragover", "drop"):
        page.dispatch_event(".room", event, {"dataTransfer": transfer})


def size(file: Path) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def look_at(page: Any, name: str) -> None:
    page.locator(f'.room-tile[data-name="{name}"]').hover()
    page.locator(f'.room-tile[data-name="{name}"] .room-look').click()
    page.wait_for_selector(f".room-viewer h3:text-is('{name}')")
    page.wait_for_function("document.querySelector('.viewer-stage img').naturalWidth > 0")


def test_from_the_desk_into_the_dataset_and_under_the_knife(
    server: Server, open_page: Callable[..., Any], tmp_path: Path
) -> None:
    page = open_page()
    tab(page, "dataset")
    folder = server.data / "datasets" / "robots"
    page.wait_for_selector('[data-dataset="practice/mascot"]')

    drop(page, [("a b 🤖.png", png(96, 64)), ("a b 🤖.txt", b"robo"), ("notes.docx", b"no picture")])
    page.get_by_label("Name", exact=True).fill("robots")
    page.get_by_role("button", name="Create it").click()
    page.wait_for_selector(".room-report")
    assert "notes.docx" in page.locator(".room-report").inner_text()
    page.keyboard.press("Escape")
    assert sorted(file.name for file in folder.glob("a*")) == ["a b 🤖.png", "a b 🤖.txt"]

    inner = tmp_path / "more" / "10_dog"
    inner.mkdir(parents=True)
    (inner / "d.png").write_bytes(png(64, 96))
    page.get_by_role("button", name="Add pictures").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a folder").click()
    chooser.value.set_files(inner.parent)
    until(lambda: (folder / "10_dog" / "d.png").is_file())
    page.wait_for_selector('.room-tile[data-name="10_dog/d.png"]')

    # cut and turn, and take both back
    file, before = folder / "a b 🤖.png", (folder / "a b 🤖.png").read_bytes()
    look_at(page, "a b 🤖.png")
    page.get_by_role("button", name="Crop", exact=True).click()
    page.get_by_role("button", name="Square").click()
    frame, handle = page.locator(".crop-frame").bounding_box(), page.locator(".crop-e").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2, steps=4)
    page.mouse.up()
    assert page.get_by_label("Width").input_value() == page.get_by_label("Height", exact=True).input_value() == "32"
    page.get_by_role("button", name="Crop to the frame").click()
    until(lambda: size(file) == (32, 32))
    page.get_by_role("button", name="Original").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo").first.click()
    until(lambda: file.read_bytes() == before)
    look_at(page, "a b 🤖.png")
    page.get_by_role("button", name="Turn right").click()
    until(lambda: size(file) == (64, 96))
    page.locator(".viewer-tools").get_by_role("button", name="Undo").click()
    until(lambda: file.read_bytes() == before)

    # paint over the left half and read the mask back
    page.wait_for_function(
        "Math.abs(document.querySelector('.viewer-stage').clientWidth / document.querySelector('.viewer-stage').clientHeight - 1.5) < 0.1"
    )
    page.locator(".viewer-section summary").click()
    page.get_by_label("Size of the brush").fill("40")
    box = page.locator(".viewer-mask").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"])
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"], steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Save the mask").click()
    mask = folder / "_masks" / "a b 🤖.png"
    until(mask.is_file)
    with Image.open(mask) as painted:
        assert painted.size == (96, 64)
        assert [painted.getpixel((x, 32)) for x in (5, 90)] == [0, 255]
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".room-viewer h3:text-is('10_dog/d.png')")


def test_buckets_are_shown_and_what_the_doctor_finds_is_put_right(server: Server, open_page: Callable[..., Any]) -> None:
    folder = server.data / "datasets" / "twins"
    folder.mkdir(parents=True)
    for number, shape in enumerate([(96, 64), (96, 64), (64, 64)]):
        (folder / f"{number}.png").write_bytes(png(*shape, seed=number * 2))
        (folder / f"{number}.txt").write_text(f"robo, number {number}")
    (folder / "again.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "again.txt").write_text("robo, once more")
    page = open_page()
    tab(page, "dataset")
    page.locator('[data-dataset="twins"]').click()

    page.get_by_role("tab", name="Buckets").click()
    page.locator(".bucket").first.wait_for()
    assert page.locator(".bucket").count() == 2
    page.get_by_label("Batch size").fill("2")
    page.locator(".bucket.small").wait_for()
    page.locator('.bucket[data-bucket="64x64"]').click()
    until(lambda: page.locator(".room-tile[data-name]").count() == 1)
    page.locator('.bucket[data-bucket="64x64"]').click()
    until(lambda: page.locator(".room-tile[data-name]").count() == 4)
    page.get_by_label("Show on the pictures what is cut off").check()
    page.locator(".room-cut").first.wait_for()

    page.get_by_role("tab", name="Check").click()
    page.get_by_role("button", name="Check the dataset").click()
    page.locator(".room-verdict.fix_first").wait_for()
    twins = page.locator('.room-finding[data-code="picture.duplicate"]')
    twins.get_by_role("button", name="Keep one").click()
    until(lambda: (folder / "_excluded").is_dir() and len(list(folder.glob("*.png"))) == 3)
    twins.wait_for(state="detached")
    page.locator(".room-toast").get_by_role("button", name="Undo").click()
    until(lambda: len(list(folder.glob("*.png"))) == 4)
