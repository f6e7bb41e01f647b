"""Write modes as laws, on captions that nobody would think of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.caption import WRITE_MODES, WriteMode
from engine.datasets.write_modes import plain_pieces, written

words = st.sampled_from(["cat", "Cat", "long_hair", "long hair", " hat ", "robo", "ROBO", "1", "000 things", "", "猫"])
captions = st.lists(words, max_size=6).map(",".join)
tags = st.lists(words, max_size=5)
triggers = st.sampled_from(["", "robo", "robo, cat", " robo "])
modes = st.sampled_from(WRITE_MODES)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("replace", "robo, hat, long hair"),
        ("append", "robo, Long_Hair, 1,000 stars, hat"),
        ("prepend", "robo, hat, Long_Hair, 1,000 stars"),
        ("missing", "Long_Hair, 1,000 stars, robo"),
    ],
)
def test_the_modes(mode: WriteMode, wanted: str) -> None:
    assert written(" Long_Hair, 1,000 stars, robo", ["hat", "long hair"], mode, "robo") == wanted


@pytest.mark.parametrize("mode", WRITE_MODES)
def test_where_there_is_no_caption_all_modes_write_the_same(mode: WriteMode) -> None:
    assert written("  ", ["hat", "robo", "hat"], mode, "robo") == "robo, hat"


@given(captions, tags, modes, triggers)
def test_twice_is_once(before: str, told: list[str], mode: WriteMode, trigger: str) -> None:
    once = written(before, told, mode, trigger)
    assert written(once, told, mode, trigger) == once


@given(captions, tags, st.sampled_from(["append", "prepend"]), triggers)
def test_adding_doubles_nothing_and_loses_nothing(before: str, told: list[str], mode: WriteMode, trigger: str) -> None:
    after, old = plain_pieces(written(before, told, mode, trigger)), plain_pieces(before)
    assert set(after) == {*old, *plain_pieces(",".join(told)), *plain_pieces(trigger)}
    assert all(after.count(piece) <= max(old.count(piece), 1) for piece in after)
    leading = set(plain_pieces(trigger))
    assert [piece for piece in after if piece in old and piece not in leading][: len(old)] == [
        piece for piece in old if piece not in leading
    ]


@given(captions, tags, modes, triggers)
def test_the_trigger_leads_and_stands_once(before: str, told: list[str], mode: WriteMode, trigger: str) -> None:
    if mode == "missing" and before.strip():
        assert written(before, told, mode, trigger) == before.strip()
        return
    after, leading = plain_pieces(written(before, told, mode, trigger)), plain_pieces(trigger)
    assert after[: len(leading)] == leading
    assert all(after.count(word) == 1 for word in leading)


def test_a_sentence_is_added_whole_or_not_at_all() -> None:
    sentence = "a cat, sitting on a chair"
    assert written("a cat, red", [sentence], "append") == "a cat, red, a cat, sitting on a chair"
    assert written("red, a cat, sitting on a chair", [sentence], "append") == "red, a cat, sitting on a chair"
