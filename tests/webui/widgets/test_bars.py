from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from webui.widgets.bars import LEFT, RIGHT, WIDTH, Bar, bars_svg

NUMBERS = st.floats(0, 1e6)


@given(st.lists(st.builds(Bar, st.text("abc <&"), NUMBERS, st.just("1"), st.none() | st.tuples(NUMBERS, NUMBERS)), min_size=1))
def test_bars_stay_inside_and_the_longest_fills(bars: list[Bar]) -> None:
    root = ElementTree.fromstring(bars_svg(bars, "Ranks <b>"))
    widths = [float(each.attrib["width"]) for each in root if each.tag == "rect"]
    assert len(widths) == len(bars)
    assert all(0 <= width <= WIDTH - LEFT - RIGHT + 0.1 for width in widths)
    if all(bar.span is None for bar in bars) and any(bar.value for bar in bars):
        assert max(widths) > WIDTH - LEFT - RIGHT - 0.2
    ends = [float(each.attrib[name]) for each in root if each.tag == "line" for name in ("x1", "x2")]
    assert all(LEFT <= end <= WIDTH - RIGHT + 0.1 for end in ends)


def test_a_span_is_drawn_where_numbers_differ() -> None:
    assert "<line" not in bars_svg([Bar("a", 4, "4", (4, 4)), Bar("b", 4, "4")], "")
    assert "<line" in bars_svg([Bar("a", 4, "2–6", (2, 6))], "")
    assert bars_svg([], "") == ""
