"""Which version and strength is suggested, from scores alone."""

from __future__ import annotations

import pytest

from engine.grid.suggest import GroupScore, suggest


def group(step: int, strength: float, total: float) -> GroupScore:
    at = {"x": round(strength * 4), "y": step // 10}
    return GroupScore(at, f"gull-step{step}", step, f"epoch {step // 10} / step {step}", strength, strength, 2, total, 1.0, total)


TABLE = {
    "the highest": ([(10, 0.5, 0.3), (10, 1, 0.6), (20, 0.5, 0.8), (20, 1, 0.7)], (20, 0.5)),
    "of equals the earlier": ([(10, 1, 0.8), (20, 0.5, 0.8), (20, 1, 0.5)], (10, 1)),
    "of equals of one version the weaker": ([(10, 1, 0.8), (10, 0.75, 0.8), (20, 1, 0.2)], (10, 0.75)),
    "what hardly differs is equal": ([(10, 0.75, 0.795), (20, 0.5, 0.8), (20, 1, 0.799)], (10, 0.75)),
    "what differs is not": ([(10, 0.75, 0.78), (20, 0.5, 0.8)], (20, 0.5)),
    "one": ([(0, 1, 0.1)], (0, 1)),
}


@pytest.mark.parametrize(("scores", "expected"), TABLE.values(), ids=TABLE)
def test_table(scores: list[tuple[int, float, float]], expected: tuple[int, float]) -> None:
    for order in (scores, scores[::-1]):
        found = suggest([group(*each) for each in order])
        assert found and (found.best.step, found.best.unet) == expected


@pytest.mark.parametrize("scores", [[], [(10, 0, 0)], [(10, 0.5, 0), (20, 1, 0)]])
def test_nothing_is_suggested_where_nothing_was_learnt(scores: list[tuple[int, float, float]]) -> None:
    assert suggest([group(*each) for each in scores]) is None


def test_why_not_more() -> None:
    found = suggest([group(10, 0.5, 0.6), group(20, 0.5, 0.9), group(20, 0.75, 0.895), group(20, 1, 0.4), group(30, 0.5, 0.7)])
    assert found and found.best.step == 20
    assert found.stronger and found.stronger.unet == 1 and found.later and found.later.step == 30
    alone = suggest([group(10, 0.5, 0.6)])
    assert alone and alone.stronger is None and alone.later is None
