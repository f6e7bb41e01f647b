from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.datasets.regularisation import balanced


def one_by_one(repeats: list[int], views: int) -> list[int]:
    """Kohya's rule, picture by picture."""
    shown, total, first = [0] * len(repeats), 0, True
    while total < views:
        for index, own in enumerate(repeats):
            more = own if first else 1
            shown[index] += more
            total += more
            if total >= views:
                break
        first = False
    return shown


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 120))
def test_the_shares_are_those_of_counting_one_by_one(repeats, views):
    assert balanced(repeats, views) == one_by_one(repeats, views)


@pytest.mark.parametrize(
    ("repeats", "views", "expected"),
    [
        ([1] * 20, 9, [1] * 9 + [0] * 11),  # more than enough: 9 are shown
        ([1] * 4, 9, [3, 2, 2, 2]),
        ([5, 5], 7, [5, 5]),  # the first round is never cut inside a picture
        ([], 9, []),
    ],
)
def test_known_shares(repeats, views, expected):
    assert balanced(repeats, views) == expected
