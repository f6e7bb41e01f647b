"""What every test in the browser does: go to a tab, wait until something holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

TABS = ("dataset", "lora", "generate", "runs", "library", "settings")


def tab_head(page: Any, name: str) -> Any:
    """The head of a tab of the page, which has tabs inside of tabs."""
    return page.locator(f"#tabs > .tab-wrapper [data-tab-id={name}]")


def tab(page: Any, name: str) -> None:
    """Go to a tab; on a narrow screen by the menu that holds those for which there is no room."""
    head, more = tab_head(page, name), page.locator("#tabs > .tab-wrapper .overflow-menu > button")
    until(lambda: head.count() > 0 or more.is_visible())  # the page measures what there is room for
    if head.count():
        head.click()
        return
    more.click()
    in_sight = page.locator("#tabs > .tab-wrapper [data-tab-id]").count()
    page.locator("#tabs > .tab-wrapper .overflow-dropdown button").nth(TABS.index(name) - in_sight).click()


def until(seen: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def settled(page: Any, quiet: float = 0.4, seconds: float = 60) -> None:
    """Wait until the page has asked the server nothing, and been answered all, for `quiet` seconds."""
    waiting: set[Any] = set()
    last = time.monotonic()

    def begun(request: Any) -> None:
        if request.method == "POST":
            waiting.add(request)

    def ended(request: Any) -> None:
        waiting.discard(request)

    listeners = {"request": begun, "requestfinished": ended, "requestfailed": ended}
    for name, listener in listeners.items():
        page.on(name, listener)
    deadline = last + seconds
    while time.monotonic() - last < quiet:
        assert time.monotonic() < deadline, "the page never came to rest"
        page.wait_for_timeout(50)
        if waiting:
            last = time.monotonic()
    for name, listener in listeners.items():
        page.remove_listener(name, listener)
