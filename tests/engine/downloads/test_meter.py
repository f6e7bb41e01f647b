from __future__ import annotations

import time

import pytest

from engine.downloads.meter import EVERY, Meter
from engine.errors import Interrupted


def test_it_counts_files_and_tells_speed_and_time_left() -> None:
    told: list[dict] = []
    meter = Meter(told.append, {"name": "x"}, 300)
    meter.on_bytes(0, "downloading")
    assert told[0] == {
        "phase": "downloading", "done": 0, "total": 300, "speed": 0.0, "seconds_left": None, "plan": {"name": "x"},
    }  # fmt: skip
    meter.on_bytes(10, "downloading")
    assert len(told) == 1, "not more often than a screen can show"
    time.sleep(2 * EVERY)
    meter.on_bytes(100, "downloading")
    assert 0 < told[-1]["speed"] <= 100 / (2 * EVERY)
    assert told[-1]["seconds_left"] == pytest.approx(200 / told[-1]["speed"])
    meter.finish_file(100)
    meter.on_bytes(200, "downloading")
    assert told[-1]["done"] == 300, "the end is told at once"


@pytest.mark.parametrize(("received", "phase"), [(500, "checking"), (10, "downloading")], ids=["from the disk", "begun anew"])
def test_what_is_no_speed(received: int, phase: str) -> None:
    meter = Meter(lambda progress: None, {}, 1000)
    meter.on_bytes(0, "downloading")
    time.sleep(2 * EVERY)
    meter.on_bytes(100, "downloading")
    assert meter.speed > 0
    meter.on_bytes(received, phase)
    assert meter.speed == 0


def test_waiting_can_be_ended() -> None:
    def tell(progress: dict) -> None:
        assert progress["phase"] == "reconnecting"
        raise Interrupted("job.interrupted", "Stopped.")

    with pytest.raises(Interrupted):
        Meter(tell, {}, 10).wait(60)
