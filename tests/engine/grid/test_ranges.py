"""The grammar of values: what a list and a range hold, and that nothing is guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.grid.ranges import MOST_VALUES, read_numbers, shown, split_list

decimals = st.decimals(-1000, 1000, places=3)


def numbers(text: str, whole: bool = False) -> list[str]:
    return [shown(number) for number in read_numbers(split_list(text, "x.values"), "x.values", whole)]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a, b,c", ["a", "b", "c"]),
        ('"red, big", blue', ["red, big", "blue"]),
        ('a "quoted" word, b', ['a "quoted" word', "b"]),
        ('"say ""hi"""', ['say "hi"']),
        ('cat, ""', ["cat", ""]),
        ("a\nb, c\n\n", ["a", "b", "c"]),
        ("a, , b,", ["a", "b"]),
        ('"two\nlines" , x', ["two\nlines", "x"]),
        ("", []),
        ("  ", []),
    ],
)
def test_lists_are_csv(text: str, items: list[str]) -> None:
    assert split_list(text, "x.values") == items


@pytest.mark.parametrize("text", ['"open', 'a, "b" c', '"a""', 'x, "'])
def test_a_quote_that_is_not_closed_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        split_list(text, "y.values")
    assert caught.value.code == "grid.quotes" and caught.value.values["field"] == "y.values"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1-5", "1 2 3 4 5"),
        ("5-1", "5 4 3 2 1"),
        ("1-5 (+2)", "1 3 5"),
        ("1-6(+2)", "1 3 5"),
        ("9 - 1 (-4)", "9 5 1"),
        ("0-1 [5]", "0 0.25 0.5 0.75 1"),
        ("0-1 [4]", "0 0.3333 0.6667 1"),
        ("0-0.3 (+0.1)", "0 0.1 0.2 0.3"),
        ("0.5-2.5", "0.5 1.5 2.5"),
        ("-1-1 [3]", "-1 0 1"),
        ("-3--1", "-3 -2 -1"),
        ("1--1", "1 0 -1"),
        ("-0.5, +1, .5, 2.", "-0.5 1 0.5 2"),
        ("1, 3-5, 10-20 [3]", "1 3 4 5 10 15 20"),
        ("-0.0", "0"),
        ("100", "100"),
    ],
)
def test_ranges(text: str, values: str) -> None:
    assert numbers(text) == values.split()


def test_whole_numbers_between_the_ends_are_rounded() -> None:
    assert numbers("1-10 [4]", whole=True) == ["1", "4", "7", "10"]
    assert numbers("10-25 [3]", whole=True) == ["10", "18", "25"]
    with pytest.raises(ConfigError):
        numbers("1.5, 2", whole=True)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "1-",
        "1-5 (0)",
        "1-5 (-1)",
        "5-1 (+1)",
        "0-0.5",
        "0-1 [1]",
        "0-1 [0]",
        "1..5",
        "1e3",
        "nan",
        "1-2-3",
        "inf-1",
        f"0-{'1' * 40} [3]",
    ],
)
def test_what_cannot_be_read_is_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        numbers(text)
    assert (caught.value.code, caught.value.values) == ("grid.values", {"field": "x.values", "value": text})


@pytest.mark.parametrize("text", ["0-4294967295", "0-1 (+0.000001)", "0-1 [999999999]", "1-100, 1-301", ",".join("1" * 401)])
def test_too_many_values_are_refused_before_they_are_counted_out(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        numbers(text)
    assert caught.value.code == "grid.too_many" and caught.value.values["most"] == MOST_VALUES


@given(decimals, decimals, st.integers(2, 50))
def test_a_counted_range_has_so_many_values_from_end_to_end(start: Decimal, end: Decimal, count: int) -> None:
    found = read_numbers([f"{start:f}-{end:f} [{count}]"], "x")
    assert len(found) == count and (found[0], found[-1]) == (start, end)
    assert found == sorted(found, reverse=end < start)


@given(decimals, st.decimals("0.01", 50, places=2), st.integers(0, 60), st.sampled_from([1, -1]))
def test_a_range_in_steps_is_even_and_ends_within_a_step_of_its_end(start: Decimal, step: Decimal, count: int, sign: int) -> None:
    end = start + sign * (step * count + step / 2)
    found = read_numbers([f"{start:f}-{end:f} ({sign * step:f})"], "x")
    assert found == [start + sign * step * i for i in range(count + 1)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=10))
def test_every_text_can_be_written_as_an_item(items: list[str]) -> None:
    written = ", ".join('"' + item.replace('"', '""') + '"' for item in items)
    assert split_list(written, "x") == items


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert all(number.is_finite() for number in read_numbers(split_list(text, "x"), "x"))
    except ConfigError as error:
        assert error.code in ("grid.values", "grid.quotes", "grid.too_many")


def test_a_long_text_is_read_at_once() -> None:
    with pytest.raises(ConfigError):
        split_list('"' + '""' * 100_000 + "a,", "x")
