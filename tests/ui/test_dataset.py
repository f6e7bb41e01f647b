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
