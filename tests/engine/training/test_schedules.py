"""The learning rate over a run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.schedules import SCHEDULES, factor

names = st.sampled_from(sorted(SCHEDULES))


@pytest.mark.parametrize("name", SCHEDULES)
def test_begins_at_one(name: str) -> None:
    assert SCHEDULES[name](0) == 1


def test_end_points_and_middle() -> None:
    assert SCHEDULES["constant"](1) == 1
    assert SCHEDULES["cosine"](1) == pytest.approx(0) and SCHEDULES["cosine"](0.5) == pytest.approx(0.5)
    assert SCHEDULES["cosine"](1 / 3) == pytest.approx(0.75)


@pytest.mark.parametrize("name", SCHEDULES)
def test_warm_up_rises_evenly_and_the_first_step_after_it_is_full(name: str) -> None:
    rates = [factor(name, step, 100, 0.1) for step in range(1, 12)]
    assert rates == pytest.approx([step / 11 for step in range(1, 12)])


@given(names, st.integers(1, 500), st.floats(0, 1))
def test_every_step_has_a_factor_above_zero_and_at_most_one(name: str, steps: int, warmup: float) -> None:
    rates = [factor(name, step, steps, warmup) for step in range(1, steps + 1)]
    assert all(0 < rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_cosine_uses_the_whole_fall() -> None:
    last = factor("cosine", 1000, 1000, 0.0)
    assert 0 < last < 1e-4
    assert last == pytest.approx(0.5 * (1 + math.cos(math.pi * 999 / 1000)))
