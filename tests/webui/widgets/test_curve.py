from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webui.widgets.curve import HEIGHT, MOST_POINTS, WIDTH, curve_svg, smooth, thin, ticks

NUMBERS = st.floats(-1e6, 1e6)


def test_smoothing_keeps_a_constant() -> None:
    assert [value for _, value in smooth([(i, 3.0) for i in range(50)])] == pytest.approx([3.0] * 50)


def test_smoothing_starts_at_the_first_value_and_stays_between() -> None:
    points = [(i, float(i % 2)) for i in range(100)]
    smoothed = smooth(points)
    assert smoothed[0] == points[0]
    assert all(0 <= value <= 1 for _, value in smoothed)
    assert smoothed[-1][1] == pytest.approx(0.5, abs=0.06)


def test_smoothing_passes_over_what_is_no_number() -> None:
    assert math.isfinite(smooth([(0, 1.0), (1, math.nan), (2, 1.0)])[-1][1])


@given(st.integers(0, 5000))
def test_thinning_keeps_the_ends(count: int) -> None:
    points = [(i, 0.0) for i in range(count)]
    kept = thin(points)
    assert len(kept) <= MOST_POINTS + 1
    assert kept[:1] == points[:1] and kept[-1:] == points[-1:]


@given(NUMBERS, NUMBERS)
def test_ticks_lie_inside(a: float, b: float) -> None:
    low, high = sorted((a, b))
    marks = ticks(low, high)
    assert marks == sorted(marks)
    slack = 1e-6 * max(1, abs(low), abs(high))
    assert all(low - slack <= mark <= high + slack for mark in marks)
    assert len(marks) <= 6


@given(st.lists(st.floats(0, 1e4) | st.just(math.nan) | st.just(math.inf), min_size=1, max_size=60))
def test_the_curve_is_well_formed_and_stays_inside(losses: list[float]) -> None:
    drawn = curve_svg([(i + 1, loss) for i, loss in enumerate(losses)], 100, "Loss <b>", "step")
    if not any(math.isfinite(loss) for loss in losses):
        assert drawn == ""
        return
    root = ElementTree.fromstring(drawn)
    lines = [each.attrib["points"] for each in root if each.tag == "polyline"]
    assert len(lines) == 2
    for pair in " ".join(lines).split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT


def test_the_axis_ends_at_the_planned_length() -> None:
    labels = [
        each.text for each in ElementTree.fromstring(curve_svg([(1, 1.0), (2, 0.5)], 150, "Loss", "step")) if each.tag == "text"
    ]
    assert "150" in labels
