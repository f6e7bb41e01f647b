"""What every test in the browser does: go to a tab, wait until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TABS = ("lora", "generate", "runs", "library", "settings")


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab").nth(TABS.index(name)).click()


def until(seen: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)
