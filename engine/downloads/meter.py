"""How far a download is: bytes, speed, time left; told a few times a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

Tell = Callable[[dict[str, Any]], None]
"""Takes `phase`, `done`, `total` and `speed` (bytes, bytes/s), `seconds_left`, `plan`. What it raises ends the download."""
EVERY = 0.25
"""s between two notes."""
WINDOW = 10.0
"""s from which the speed is reckoned."""


class Meter:
    """Args:
    plan: what will be done, shown with every note.
    total: bytes of everything.
    """

    def __init__(self, tell: Tell, plan: dict[str, Any], total: int) -> None:
        self.tell, self.plan, self.total = tell, plan, total
        self.base, self.done, self._told = 0, 0, 0.0
        self._seen: deque[tuple[float, int]] = deque()

    def finish_file(self, size: int) -> None:
        """A file is there; those to come count from here."""
        self.base += size
        self.done = self.base

    def on_bytes(self, received: int, phase: str) -> None:
        """So many bytes of the present file are there."""
        now, done = time.monotonic(), self.base + received
        if phase != "downloading" or done < self.done:  # read from the disk, or begun anew: that is no speed
            self._seen.clear()
        self.done = done
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW:
            self._seen.popleft()
        if now - self._told >= EVERY or done == self.total:
            self._say(phase)

    def wait(self, seconds: float) -> None:
        """Wait for the network, ready to be ended at any time."""
        self._seen.clear()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._say("reconnecting")
            time.sleep(min(left, EVERY))

    def _say(self, phase: str) -> None:
        self._told = time.monotonic()
        speed = self.speed
        left = (self.total - self.done) / speed if speed else None
        self.tell({
            "phase": phase, "done": self.done, "total": self.total, "speed": speed, "seconds_left": left, "plan": self.plan,
        })  # fmt: skip

    @property
    def speed(self) -> float:
        """Bytes/s of late; 0 while it cannot be told."""
        if len(self._seen) < 2 or self._seen[-1][0] - self._seen[0][0] < 2 * EVERY:
            return 0.0
        (begun, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - begun)
