"""Thresholds, order and spelling of tags."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config.caption import BlipOptions, Wd14Options
from engine.datasets.taggers.base import Tag, Told
from engine.datasets.taggers.tag_list import pieces, spaced, tag_list

TAGS = (
    Tag("general", "rating", 0.3),
    Tag("sensitive", "rating", 0.6),
    Tag("long_hair", "general", 0.5),
    Tag("smile", "general", 0.9),
    Tag("hat", "general", 0.35),
    Tag("shoes", "general", 0.34),
    Tag("hatsune_miku", "character", 0.86),
    Tag("kagamine_rin", "character", 0.84),
)
FACES = [
    "0_0", "(o)_(o)", "+_+", "+_-", "._.", "<o>_<o>", "<|>_<|>", "=_=", ">_<", "3_3", "6_9", ">_o", "@_@", "^_^", "o_o", "u_u", "x_x",
    "|_|", "||_||",
]  # fmt: skip
"""Emoticons among the tags of the published taggers."""


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ["hatsune miku", "smile", "long hair", "hat"]),
        ({"general_threshold": 0.6}, ["hatsune miku", "smile"]),
        ({"character_threshold": 0.84}, ["hatsune miku", "kagamine rin", "smile", "long hair", "hat"]),
        ({"character_threshold": 1.0}, ["smile", "long hair", "hat"]),
        ({"characters_first": False}, ["smile", "long hair", "hat", "hatsune miku"]),
        ({"rating": True}, ["hatsune miku", "smile", "long hair", "hat", "sensitive"]),
        ({"spaces": False}, ["hatsune_miku", "smile", "long_hair", "hat"]),
        ({"blacklist": ["Long Hair", "hatsune_miku"]}, ["smile", "hat"]),
        ({"rating": True, "blacklist": ["sensitive"]}, ["hatsune miku", "smile", "long hair", "hat"]),
    ],
)
def test_tags_that_are_written(options: dict[str, Any], wanted: list[str]) -> None:
    assert tag_list(TAGS, Wd14Options(**options)) == wanted


@pytest.mark.parametrize("face", FACES)
def test_emoticons_keep_their_underscore(face: str) -> None:
    assert spaced(face) == face


@pytest.mark.parametrize(
    ("tag", "wanted"),
    [("1girl", "1girl"), ("holding_a_cup", "holding a cup"), ("x_(y2k)", "x (y2k)"), ("初音_ミク", "初音 ミク")],
)
def test_words_do_not(tag: str, wanted: str) -> None:
    assert spaced(tag) == wanted


def test_a_sentence_is_one_piece() -> None:
    assert pieces(Told(sentence="a cat, and a dog"), BlipOptions()) == ["a cat, and a dog"]
    assert pieces(Told(), BlipOptions()) == []
