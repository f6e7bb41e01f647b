"""Which process is meant: its pid together with its start time, since a pid alone is given out again."""

from __future__ import annotations

import os

import psutil

CLOCK_SLACK = 2.0
"""Seconds by which a start time may differ between two looks: systems derive it from a clock that is being corrected."""


def this_process() -> dict:
    """`pid` and `start_time` (s since the epoch) of this process."""
    return {"pid": os.getpid(), "start_time": psutil.Process().create_time()}


def identity(holder: dict) -> str:
    """`pid:start_time` of what `this_process` told, as job rows keep it."""
    return f"{holder['pid']}:{holder['start_time']:.2f}"


def lives(identity: str) -> bool:
    """Whether that very process still runs. A zombie does not."""
    pid, _, start_time = identity.partition(":")
    try:
        process = psutil.Process(int(pid))
        same = abs(process.create_time() - float(start_time)) <= CLOCK_SLACK
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (ValueError, OverflowError, psutil.NoSuchProcess):
        return False


def holder_of(told: dict) -> str:
    """The identity of a lock's holder if it lives, else "". `told` is what the lock file says, which may be anything."""
    pid, start_time = told.get("pid"), told.get("start_time")
    if not isinstance(pid, int) or not isinstance(start_time, float | int):
        return ""
    found = identity({"pid": pid, "start_time": start_time})
    return found if lives(found) else ""
