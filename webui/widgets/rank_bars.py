"""Ranks per block of the model as an inline SVG: a bar for the mean, a line from the lowest to the highest. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from engine.formats.module_facts import BlockRanks
from webui.widgets.html import tag, text

WIDTH, ROW = 640, 20
LEFT, RIGHT = 120, 96
"""Room for the names of the blocks and for the numbers, px."""


def rank_bars(blocks: Mapping[str, BlockRanks], title: str) -> str:
    """The picture, or "" without a block that has ranks.

    Args:
        title: what the picture shows, for screen readers.
    """
    if not blocks:
        return ""
    highest = max(1, *(ranks.highest for ranks in blocks.values()))
    rows = "".join(_row(index, block, ranks, highest) for index, (block, ranks) in enumerate(blocks.items()))
    size = f"0 0 {WIDTH} {len(blocks) * ROW + 4}"
    return tag("svg", text("title", title) + rows, viewBox=size, role="img", class_="bars")


def _row(index: int, block: str, ranks: BlockRanks, highest: int) -> str:
    middle = index * ROW + ROW / 2 + 2

    def place(rank: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * rank / highest, 1)

    parts = [
        text("text", block, x=LEFT - 8, y=middle + 4, class_="bars-name"),
        tag("rect", x=LEFT, y=middle - 6, width=round(place(ranks.mean) - LEFT, 1), height=12, rx=3, class_="bars-bar"),
    ]
    if ranks.lowest != ranks.highest:
        parts.append(tag("line", x1=place(ranks.lowest), x2=place(ranks.highest), y1=middle, y2=middle, class_="bars-span"))
    parts.append(text("text", _words(ranks), x=WIDTH - RIGHT + 8, y=middle + 4, class_="bars-value"))
    return "".join(parts)


def _words(ranks: BlockRanks) -> str:
    """ "16 × 12" is rank 16 in twelve modules; "4–16 × 12" where it varies."""
    span = str(ranks.lowest) if ranks.lowest == ranks.highest else f"{ranks.lowest}–{ranks.highest}"
    return f"{span} × {ranks.modules}"
