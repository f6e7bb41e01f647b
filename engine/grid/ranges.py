"""How the values of an axis are written: `0.5, 0.8, 1`, `1-5`, `1-5 (+2)`, `0-1 [5]`, `"red, big", blue`.

The grammar is AUTOMATIC1111's. Lists are CSV: commas or new lines between items, double quotes around an item that holds one, a
quote inside written twice, leading spaces skipped. Numbers are decimals and are counted exactly, so that 0-1 (+0.1) holds 0.3.
"""

from __future__ import annotations

import re
from decimal import Decimal

from engine.errors import ConfigError

MOST_VALUES = 400
"""Of one axis; no grid may have more cells."""
COUNTED_PLACES = Decimal("0.0001")
"""Values counted between the ends of a range are rounded to this."""

_ITEM = re.compile(r'[^\S\n]*(?:"((?:[^"]|"")*+)"[^\S\n]*|([^,\n]*))(,|\n|$)')
_NUMBER = r"[+-]?(?:\d{1,12}(?:\.\d{0,8})?|\.\d{1,8})"
_SINGLE = re.compile(_NUMBER)
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*({_NUMBER})\s*\)|\[\s*(\d{{1,9}})\s*\])?")


def split_list(text: str, field: str) -> list[str]:
    """The items of a list. Empty ones are left out, except `""`, which is an item of no letters.

    Raises:
        ConfigError: `grid.quotes`, `grid.too_many`.
    """
    items, position = [], 0
    while position < len(text):
        found = _ITEM.match(text, position)
        if not found or (found[1] is None and found[2].lstrip().startswith('"')):
            raise _unclosed(field, text[position:].strip())
        if found[1] is not None:
            items.append(found[1].replace('""', '"'))
        elif found[2].strip():
            items.append(found[2].strip())
        position = found.end()
    _check_count(len(items), field)
    return items


def read_numbers(items: list[str], field: str, whole: bool = False) -> list[Decimal]:
    """Numbers and ranges as numbers. A range goes up or down and holds its first number.

    Args:
        whole: they must be whole numbers; those counted between the ends of a range are rounded.

    Raises:
        ConfigError: `grid.values`, `grid.too_many`.
    """
    numbers: list[Decimal] = []
    for item in items:
        if found := _RANGE.fullmatch(item):
            numbers += _range(found, item, field, whole)
        elif _SINGLE.fullmatch(item):
            numbers.append(Decimal(item))
        else:
            raise _bad(field, item)
    if whole and (broken := next((number for number in numbers if number % 1), None)) is not None:
        raise _bad(field, shown(broken), "Whole numbers.")
    _check_count(len(numbers), field)
    return numbers


def shown(number: Decimal) -> str:
    """A number as people write it: 0.5, 1, -2, 100."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "+0", "") else text


def _range(found: re.Match[str], item: str, field: str, whole: bool) -> list[Decimal]:
    start, end = Decimal(found[1]), Decimal(found[2])
    if found[4]:
        return _counted(start, end, int(found[4]), item, field, whole)
    if found[3] is None and (end - start) % 1:
        raise _bad(field, item, "How the numbers lie between, such as 0-0.5 (+0.1) or 0-0.5 [6].")
    step = Decimal(found[3]) if found[3] else Decimal(1 if end >= start else -1)
    if not step or (end - start) * step < 0:
        raise _bad(field, item, "A step that leads from the first number to the last, such as 1-9 (+2) or 9-1 (-2).")
    count = int((end - start) / step) + 1
    _check_count(count, field)
    return [start + step * i for i in range(count)]


def _counted(start: Decimal, end: Decimal, count: int, item: str, field: str, whole: bool) -> list[Decimal]:
    """`count` numbers from end to end."""
    if count < 2:
        raise _bad(field, item, "At least two numbers, such as 0-1 [2].")
    _check_count(count, field)
    places = Decimal(1) if whole else COUNTED_PLACES
    between = [(start + (end - start) * i / (count - 1)).quantize(places) for i in range(1, count - 1)]
    return [start, *between, end]


def _check_count(count: int, field: str) -> None:
    if count > MOST_VALUES:
        raise ConfigError(
            "grid.too_many", f"{field}: these are {count} values.", f"At most {MOST_VALUES} in a grid.", "Take fewer.",
            field=field, count=count, most=MOST_VALUES,
        )  # fmt: skip


def _bad(
    field: str, value: str, expected: str = "A list such as 0.5, 0.8, 1, or a range such as 0-1 [5] or 1-9 (+2)."
) -> ConfigError:
    value = _short(value)
    return ConfigError(
        "grid.values", f"{field}: {value!r} cannot be read.", expected, "Correct it.", field=field, value=value
    )  # fmt: skip


def _unclosed(field: str, value: str) -> ConfigError:
    value = _short(value)
    return ConfigError(
        "grid.quotes", f"{field}: a quote is not closed: {value}", 'Quotes stand around a whole item: "red, big", blue.',
        "Add the other one.", field=field, value=value,
    )  # fmt: skip


def _short(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:57]}..."
