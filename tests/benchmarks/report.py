"""What a benchmark hands back, and how it is shown: one table, and the same as JSON. Says what it ran on."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from engine.workspace import atomic_write


@dataclass(frozen=True)
class Row:
    """One measured number.

    Attributes:
        values: every single measurement, in the order in which they were made.
        goal: the most that is wanted, None where the number is for comparison only.
        interval: where the true median lies with 95 % confidence, where there are enough values to say.
    """

    name: str
    values: tuple[float, ...]
    unit: str = "s"
    goal: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """Its interval, or lowest to highest."""
        low, high = self.interval or (min(self.values), max(self.values))
        return f"{low:.3g} - {high:.3g}" if len(self.values) > 1 else ""


def timed(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], goal: float | None = None) -> Row:
    """Ours over theirs, of the medians."""
    return Row(name, (statistics.median(ours) / statistics.median(theirs),), "x", goal)


def peak_mib(process: int | None = None) -> float:
    """The most memory a process, else this one, has held, MiB."""
    try:  # getrusage also counts what the process held before it became this program
        status = Path(f"/proc/{process or 'self'}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return psutil.Process(process).memory_info().rss / 2**20


def machine() -> dict[str, object]:
    """What it runs on, and how busy that is."""
    from engine.device import device_facts

    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        **device_facts(),
        "cores": os.cpu_count(),
        "load": busy,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def show(title: str, rows: Sequence[Row], on: dict[str, object]) -> None:
    print(f"\n{title} on {on['name']}, {on['threads']} threads of {on['cores']} cores, torch {on['torch']}, load {on['load']}\n")
    print(f"{'':44}{'median':>10} {'':4} {'spread':>18} {'goal':>8} {'of it':>7}")
    for row in rows:
        goal, share = ("", "") if row.goal is None else (f"{row.goal:g}", f"{row.median / row.goal:.2f}x")
        print(f"{row.name:44}{row.median:10.3f} {row.unit:4} {row.spread:>18} {goal:>8} {share:>7}".rstrip())


def write(path: Path, title: str, rows: Sequence[Row], on: dict[str, object]) -> None:
    data = {"benchmark": title, "machine": on, "rows": [{**asdict(row), "median": row.median} for row in rows]}
    with atomic_write(path, "w") as stream:
        json.dump(data, stream, indent=1)
