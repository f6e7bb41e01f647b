"""One running program and one browser for all tests that click."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--disable-background-networking",
]  # fmt: skip
SECONDS_TO_START = 180
PATIENCE = 60_000
"""ms a test waits for something to appear; machines that run tests are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.fspath).is_relative_to(Path(__file__).parent):  # type: ignore[arg-type]
            item.add_marker(pytest.mark.ui)


@dataclass
class Server:
    url: str
    data: Path
    process: subprocess.Popen

    def interrupt(self) -> tuple[int, float]:
        """Ctrl-C: (exit code, seconds it took)."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60), time.monotonic() - begun


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(data: Path, *more: str) -> Server:
    """`python launch.py` on a data folder, until its page answers."""
    port = free_port()
    command = [
        sys.executable,
        str(ROOT / "launch.py"),
        "--no-venv",
        "--no-browser",
        "--data-dir",
        str(data),
        "--port",
        str(port),
        *more,
    ]
    log = data.with_suffix(".log")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True
        )
    deadline = time.monotonic() + SECONDS_TO_START
    while "is ready" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the page did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
    return Server(f"http://127.0.0.1:{port}", data, process)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("ui") / "data")
    yield running
    if running.process.poll() is None:
        running.interrupt()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium; apt install chromium")
    with playwright.sync_playwright() as run:
        started = run.chromium.launch(executable_path=chromium, args=FLAGS)
        yield started
        started.close()


@pytest.fixture()
def open_page(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Open the page as somebody with this locale and screen. Afterwards: no script error, no request that left the machine."""
    contexts, troubles = [], []

    def open_it(locale: str = "en-US", width: int = 1280, dark: bool = False, url: str = "") -> Any:
        context = browser.new_context(
            locale=locale, viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on(
            "pageerror", lambda error: None if is_the_list_of_gradio(error) else troubles.append(f"script error: {error.stack}")
        )
        page.on("console", lambda message: message.type == "error" and troubles.append(f"console: {message.text}"))
        page.on(
            "request", lambda request: troubles.append(f"foreign: {request.url}") if is_foreign(request.url, server.url) else None
        )
        page.goto(url or server.url)
        page.wait_for_selector("#train-start")
        page.wait_for_selector("#train-plan h3")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


def is_the_list_of_gradio(error: Any) -> bool:
    """Whether it is the known fault of Gradio 6.31: new choices that arrive while a list is open have it draw rows that are gone.

    It draws the right ones right after. Nothing of ours may be on the stack.
    """
    return error.message == "Cannot read properties of undefined (reading '0')" and set(
        re.findall(r"https?://[^/]+(/[^:)]*/)", error.stack or "")
    ) == {"/assets/"}


def is_foreign(url: str, own: str) -> bool:
    return not url.startswith((own, "data:", "blob:"))
