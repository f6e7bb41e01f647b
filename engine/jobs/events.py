"""The log of a run: events as JSON lines, appended by one writer, and the fold that makes a picture of the run from them.

After a crash steps are done again; the log keeps both, and `fold` lets each step stand once.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.training.events import Phase, Step

FILE = "events.jsonl"
RECENT_STEPS = 30
"""The time left is reckoned from this many steps."""


class EventLog:
    """`events.jsonl` of a run folder.

    Args:
        attempt: which attempt the writer is; readers need not say.
    """

    def __init__(self, folder: Path, attempt: int = 1) -> None:
        self.path = folder / FILE
        self.attempt = attempt
        self._read, self._position = 0, 0

    def append(self, event: dict[str, Any]) -> None:
        """Add an event, with time and attempt. What a saved state or a file stands behind is on disk before this returns."""
        line = json.dumps({**event, "attempt": self.attempt, "time": time.time()}, ensure_ascii=False)
        kept = event["type"] not in (Step.type, Phase.type) or event.get("name") == "saving"
        append_text(self.path, line + "\n", sync=kept)

    def read(self, after: int = 0) -> list[dict[str, Any]]:
        """The events behind the one with `number` `after`; each carries its `number`, from 1.

        Only whole lines are taken, and lines that a crash left in pieces are passed over. Reading on from the last
        number costs only what is new.
        """
        if after != self._read:
            self._read, self._position = 0, 0
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._position)
                content = stream.read()
        except FileNotFoundError:
            return []
        events = []
        for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
            self._read += 1
            self._position += len(line)
            event = _parse(line)
            if event and self._read > after:
                events.append({**event, "number": self._read})
        return events


def append_text(path: Path, text: str, sync: bool = False) -> None:
    """Add whole lines to a text file. What a crash left without an end gets one first."""
    with path.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                text = "\n" + text
        stream.write(text.encode())
        if sync:
            stream.flush()
            os.fsync(stream.fileno())


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("type"), str) else None


@dataclass
class RunView:
    """What a screen shows of a run.

    Attributes:
        phase, phase_done, phase_total: what it is doing now; total 0 when the length is unknown.
        step, steps: steps done and planned.
        losses, learning_rates: (step, value), ascending, each step once.
        samples, checkpoints, warnings: their events.
        started: the event with the run's facts, {} before.
        error: `EngineError.to_dict` when this attempt failed. stopped: it was stopped and saved. done: the last event.
        seconds: of the most recent steps.
    """

    phase: str = ""
    phase_done: int = 0
    phase_total: int = 0
    step: int = 0
    steps: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    learning_rates: list[tuple[int, float]] = field(default_factory=list)
    samples: list[dict] = field(default_factory=list)
    checkpoints: list[dict] = field(default_factory=list)
    warnings: list[dict] = field(default_factory=list)
    started: dict = field(default_factory=dict)
    error: dict | None = None
    stopped: bool = False
    done: dict | None = None
    attempt: int = 0
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_STEPS))

    @property
    def seconds_left(self) -> float | None:
        """Seconds for the steps to come, once two are done."""
        if len(self.seconds) < 2 or self.done:
            return None
        return max(0, self.steps - self.step) * sum(self.seconds) / len(self.seconds)


def fold(events: Iterable[dict[str, Any]]) -> RunView:
    """The state of a run after these events. Events that it does not know, or that lack something, are passed over."""
    view = RunView()
    for event in events:
        take(view, event)
    return view


def take(view: RunView, event: dict[str, Any]) -> None:
    """Change a view by one event."""
    try:
        if event["attempt"] > view.attempt:
            view.attempt, view.error, view.stopped = event["attempt"], None, False
            view.seconds.clear()
        if change := TAKERS.get(event["type"]):
            change(view, event)
    except (KeyError, TypeError):
        return


def _rewind(view: RunView, step: int) -> None:
    """Forget what came after `step`."""
    view.step = min(view.step, step)
    for curve in (view.losses, view.learning_rates):
        while curve and curve[-1][0] > step:
            curve.pop()
    view.samples = [sample for sample in view.samples if sample["step"] <= step]
    view.checkpoints = [checkpoint for checkpoint in view.checkpoints if checkpoint["step"] <= step]


def _phase(view: RunView, event: dict) -> None:
    view.phase, view.phase_done, view.phase_total = event["name"], event.get("done", 0), event.get("total", 0)


def _started(view: RunView, event: dict) -> None:
    view.started, view.steps = event, event["steps"]


def _resumed(view: RunView, event: dict) -> None:
    _rewind(view, event["step"])


def _step(view: RunView, event: dict) -> None:
    if event["step"] <= view.step:  # begun again from the start, without a saved state
        _rewind(view, event["step"] - 1)
    view.step = event["step"]
    view.seconds.append(event["seconds"])
    view.losses.append((event["step"], event["loss"]))
    view.learning_rates.append((event["step"], event["learning_rate"]))


def _sample(view: RunView, event: dict) -> None:
    key = (event["step"], event["index"])
    view.samples = [*(sample for sample in view.samples if (sample["step"], sample["index"]) != key), event]


def _checkpoint(view: RunView, event: dict) -> None:
    view.checkpoints = [*(checkpoint for checkpoint in view.checkpoints if checkpoint["step"] != event["step"]), event]


def _warning(view: RunView, event: dict) -> None:
    if all(warning["text"] != event["text"] for warning in view.warnings):
        view.warnings.append(event)


def _error(view: RunView, event: dict) -> None:
    view.error = event


def _stopped(view: RunView, event: dict) -> None:
    view.stopped = True


def _done(view: RunView, event: dict) -> None:
    view.done = event


TAKERS = {
    "phase": _phase, "started": _started, "resumed": _resumed, "step": _step, "sample": _sample, "checkpoint": _checkpoint,
    "warning": _warning, "error": _error, "stopped": _stopped, "done": _done,
}  # fmt: skip
