"""Numbers by name as an inline SVG of horizontal bars. Pure; colours come from the style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from webui.widgets.html import tag, text

WIDTH, ROW = 400, 20
LEFT, RIGHT = 104, 76
"""Room for the names and for the numbers, px."""


@dataclass(frozen=True)
class Bar:
    """One row.

    Attributes:
        value: length of the bar, at least 0.
        words: the number as it is written beside it.
        span: lowest and highest of what `value` is the mean of; None where it is one number.
    """

    name: str
    value: float
    words: str
    span: tuple[float, float] | None = None


def bars_svg(bars: Sequence[Bar], title: str) -> str:
    """The picture, or "" without a bar.

    Args:
        title: what it shows, for screen readers.
    """
    longest = max((max(bar.value, *(bar.span or (0,))) for bar in bars), default=0) or 1
    rows = "".join(_row(index, bar, longest) for index, bar in enumerate(bars))
    size = f"0 0 {WIDTH} {len(bars) * ROW + 4}"
    return tag("svg", text("title", title) + rows, viewBox=size, role="img", class_="bars") if bars else ""


def _row(index: int, bar: Bar, longest: float) -> str:
    middle = index * ROW + ROW / 2 + 2

    def place(value: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * value / longest, 1)

    parts = [
        text("text", bar.name, x=LEFT - 8, y=middle + 4, class_="bars-name"),
        tag("rect", x=LEFT, y=middle - 6, width=round(place(bar.value) - LEFT, 1), height=12, rx=3, class_="bars-bar"),
    ]
    if bar.span and bar.span[0] != bar.span[1]:
        low, high = map(place, bar.span)
        parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_="bars-span"))
    parts.append(text("text", bar.words, x=WIDTH - RIGHT + 8, y=middle + 4, class_="bars-value"))
    return "".join(parts)
