from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config.edits import EDITS, Edit, EditConfig
from engine.config.load import validate
from engine.datasets import expression
from engine.datasets.edits import FACES, edited, edited_all, parts, preview
from engine.datasets.expression import substitute
from engine.datasets.tags import split_tags
from engine.errors import ConfigError, DatasetError

PROSE = "mofumo, A robot stands on a hill, holding 1,000 flags. It is red, tall and shiny."
TAGS = [
    "mofumo",
    "a",
    "B",
    "b",
    "long hair",
    "long_hair",
    "^_^",
    "1girl",
    "tag 2",
    "tag 10",
    "猫",
    "looking at viewer",
    "dr. slump",
]
captions = st.lists(st.sampled_from(TAGS), max_size=9).map(", ".join)
IDEMPOTENT: list[dict[str, Any]] = [
    {"kind": "add", "tags": "x, B, x", "position": "front"},
    {"kind": "add", "tags": "x, 猫"},
    {"kind": "remove", "tags": "b, 1GIRL"},
    {"kind": "trigger", "trigger": "mofumo"},
    {"kind": "trigger", "trigger": "mofumo, b"},
    {"kind": "sort", "keep": 0},
    {"kind": "sort", "keep": 2, "order": "frequency"},
    {"kind": "deduplicate"},
    {"kind": "spaces"},
    {"kind": "spaces", "keep": 2},
    {"kind": "set", "caption": "one for all"},
    {"kind": "replace", "find": "long_hair", "replacement": "long hair", "whole_tag": True},
]


def edit(**options: Any) -> Edit:
    return validate(EditConfig, {"edit": options}).edit


@pytest.mark.parametrize(
    ("caption", "options", "expected"),
    [
        ("a, b", {"kind": "add", "tags": "x, A, y"}, "a, b, x, y"),
        ("t, a", {"kind": "add", "tags": "x,y", "position": "front"}, "t, x, y, a"),
        ("t, a", {"kind": "add", "tags": "x", "position": "front", "keep": 0}, "x, t, a"),
        ("", {"kind": "add", "tags": "x"}, "x"),
        ("a,b ,c", {"kind": "add", "tags": "C"}, "a,b ,c"),
        ("a, B, c, b", {"kind": "remove", "tags": "b,zzz"}, "a, c"),
        ("a", {"kind": "remove", "tags": "a"}, ""),
        ("long hair, hair", {"kind": "remove", "tags": "hair"}, "long hair"),
        ("a, mofumo, b", {"kind": "trigger", "trigger": "mofumo"}, "mofumo, a, b"),
        ("mofumos, b", {"kind": "trigger", "trigger": "mofumo"}, "mofumo, mofumos, b"),
        ("mofumo on a hill", {"kind": "trigger", "trigger": "mofumo"}, "mofumo on a hill"),
        ("", {"kind": "trigger", "trigger": "モフモ"}, "モフモ"),
        ("t, tag 10, b, tag 2, A", {"kind": "sort"}, "t, A, b, tag 2, tag 10"),
        ("b, a", {"kind": "sort", "keep": 0}, "a, b"),
        ("t, b, a, B", {"kind": "deduplicate"}, "t, b, a"),
        ("my_bot, long_hair, ^_^, O_o, a_b^_^", {"kind": "spaces"}, "my bot, long hair, ^_^, O_o, a b^ ^"),
        ("my_bot, long_hair", {"kind": "spaces", "keep": 1}, "my_bot, long hair"),
        ("a", {"kind": "set", "caption": " new\ncaption "}, "new caption"),
        ("Red hat, red", {"kind": "replace", "find": "red", "replacement": "blue"}, "blue hat, blue"),
        ("Red hat, red", {"kind": "replace", "find": "red", "replacement": "blue", "case": True}, "Red hat, blue"),
        ("Red hat, red", {"kind": "replace", "find": "RED", "whole_tag": True}, "Red hat"),
        ("a, very long hair, b", {"kind": "replace", "find": "very long hair"}, "a, b"),
        ("a, very red", {"kind": "replace", "find": "very "}, "a, red"),
        ("a.b", {"kind": "replace", "find": ".", "replacement": "\\1"}, "a\\1b"),
        ("x (y), z", {"kind": "replace", "find": r"(\w) \((\w)\)", "replacement": r"\2 \1", "regex": True}, "y x, z"),
        ("red, Red hat", {"kind": "replace", "find": "r.d", "replacement": "x", "regex": True, "whole_tag": True}, "x, Red hat"),
        ("a1, b22", {"kind": "replace", "find": r"\d+", "regex": True}, "a, b"),
        ("a, b", {"kind": "replace", "find": ", ", "replacement": "\n", "regex": True}, "a b"),
    ],
)  # fmt: skip
def test_edits(caption: str, options: dict[str, Any], expected: str) -> None:
    assert edited(caption, edit(**options)) == expected


@pytest.mark.parametrize("options", IDEMPOTENT, ids=str)
@given(caption=captions)
def test_twice_is_once(options: dict[str, Any], caption: str) -> None:
    once = edited(caption, edit(**options))
    assert edited(once, edit(**options)) == once


@pytest.mark.parametrize(
    "options", [{"kind": "sort"}, {"kind": "sort", "order": "frequency"}, {"kind": "shuffle", "seed": 3}], ids=str
)
@given(caption=captions, keep=st.integers(0, 4))
def test_order_changes_nothing_else(options: dict[str, Any], caption: str, keep: int) -> None:
    after = split_tags(edited(caption, edit(**options, keep=keep)))
    assert sorted(after) == sorted(split_tags(caption)) and after[:keep] == split_tags(caption)[:keep]


@pytest.mark.parametrize(
    "options", [*IDEMPOTENT, {"kind": "shuffle"}, {"kind": "replace", "find": "zzz", "regex": True}], ids=str
)
def test_untouched_captions_come_back_letter_for_letter(options: dict[str, Any]) -> None:
    untidy = "mofumo,b,,x ,猫,  "
    if options["kind"] in ("deduplicate", "spaces", "add") or "find" in options:
        assert edited(untidy, edit(**options)) == untidy


@pytest.mark.parametrize("kind", ["sort", "shuffle", "deduplicate"])
@pytest.mark.parametrize(
    "prose", [PROSE, "a robot with a flag on a hill", "モフモ, 赤いロボット, 立っている。", "A cat, a dog, a cat."]
)
def test_sentences_stay_whole(kind: str, prose: str) -> None:
    assert edited(prose, edit(kind=kind)) == prose


def test_sentences_can_get_tags_around_them() -> None:
    assert parts(PROSE) == ["mofumo", PROSE.removeprefix("mofumo, ")]
    assert edited(PROSE, edit(kind="add", tags="x", position="front")) == PROSE.replace("mofumo, ", "mofumo, x, ")
    assert edited(PROSE, edit(kind="trigger", trigger="neko")) == f"neko, {PROSE}"
    assert edited(PROSE, edit(kind="replace", find="red", replacement="blue")) == PROSE.replace("red", "blue")
    assert parts("1girl, dr. slump, looking at viewer, !?") == ["1girl", "dr. slump", "looking at viewer", "!?"]


def test_shuffle_is_another_one_for_each_caption_and_the_same_each_time() -> None:
    every = [", ".join(["t", f"p{index}", *"abcdefgh"]) for index in range(20)]
    first = edited_all(every, edit(kind="shuffle", keep=2))
    assert (
        first == edited_all(every, edit(kind="shuffle", keep=2)) == [edited(each, edit(kind="shuffle", keep=2)) for each in every]
    )
    assert len({caption.split(", ", 2)[2] for caption in first}) > 15
    assert first != edited_all(every, edit(kind="shuffle", keep=2, seed=1))


def test_frequency_is_that_of_the_whole_dataset() -> None:
    all_captions = {"1": "t, rare, often", "2": "often", "3": "t, Often, b", "4": "b"}
    by_frequency = edit(kind="sort", order="frequency", keep=0)
    assert preview(all_captions, ["1", "2"], by_frequency) == {"1": "often, t, rare"}
    assert edited_all(list(all_captions.values()), by_frequency) == ["often, t, rare", "often", "Often, t, b", "b"]


def test_preview_tells_what_changes_only() -> None:
    all_captions = {"1": "a", "2": "b, a", "3": "c"}
    assert preview(all_captions, ["1", "2"], edit(kind="add", tags="b")) == {"1": "a, b"}


def test_faces_are_written_in_lower_case_and_have_a_mouth() -> None:
    assert all(face == face.lower() for face in FACES)
    assert edited(", ".join(sorted(FACES)), edit(kind="spaces")) == ", ".join(sorted(FACES))


# ---- expressions ----


@pytest.mark.parametrize(
    ("find", "replacement"), [("(", ""), ("a", r"\3"), ("a", r"\g<x>"), ("a{99999999999999999999}", ""), ("(?<=a+)b", "")]
)
def test_an_expression_that_cannot_be_used_is_named(find: str, replacement: str) -> None:
    with pytest.raises(DatasetError) as refused:
        edited("a b", edit(kind="replace", find=find, replacement=replacement, regex=True))
    assert refused.value.code == "edit.bad_expression" and refused.value.values["find"] == find


@pytest.mark.parametrize("find", ["(a+)+$", "(a|aa)+$", "(|)" * 300 + "x"])
def test_an_expression_without_end_is_ended(find: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression, "SECONDS", 0.4)
    start = time.monotonic()
    with pytest.raises(DatasetError) as refused:
        substitute(["a" * 60 + "!"], find, "")
    assert refused.value.code == "edit.slow_expression" and time.monotonic() - start < 5


def test_results_are_bounded() -> None:
    with pytest.raises(DatasetError) as refused:
        substitute(["a" * 100_000] * 10, "a", "b" * 1000)
    assert refused.value.code == "edit.bad_expression"


def test_expressions_are_those_of_python() -> None:
    texts = ["Straße 猫\ud800", "", "a\\b"]
    assert substitute(texts, r"(?P<first>\w)", r"<\g<first>>") == ["<S><t><r><a><ß><e> <猫>\ud800", "", "<a>\\<b>"]
    assert substitute(["ab", "abc"], "AB", "x", case=False, whole=True) == ["x", "abc"]


# ---- options ----


def test_options_are_checked() -> None:
    assert set(EDITS) == {"add", "remove", "replace", "trigger", "sort", "deduplicate", "spaces", "shuffle", "set"}
    for options in (
        {"kind": "none"},
        {"kind": "remove"},
        {"kind": "replace", "find": ""},
        {"kind": "sort", "keep": -1},
        {"kind": "set", "tags": "x"},
    ):
        with pytest.raises(ConfigError) as refused:
            edit(**options)
        assert refused.value.values["field"].startswith("edit")
