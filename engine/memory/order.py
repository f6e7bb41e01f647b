"""Which of a network's blocks are recomputed or streamed first. Names and counts only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def largest_first(paths: Iterable[str]) -> list[str]:
    """Blocks by what is kept of their activations, the most first; where all are alike they stay in their order.

    In a U-Net these are the outermost, on the way up before the way down, whose beginning comes before all adapters; last are
    the blocks that change the size, which keep little else than what they are given.
    """
    listed = list(paths)
    levels = max((int(path.split(".")[1]) + 1 for path in listed if path.startswith("up_blocks.")), default=0)
    return sorted(listed, key=lambda path: _place(path, levels)) if levels else listed


def _place(path: str, levels: int) -> tuple[int | bool | str, ...]:
    side, number, kind = (*path.split("."), "")[:3]
    if side == "mid_block":
        return levels, False, False, path
    level = int(number) if side == "down_blocks" else levels - 1 - int(number)
    return level, side == "down_blocks", kind.endswith("samplers"), re.sub(r"\d+", lambda digits: digits[0].zfill(3), path)


def spread(blocks: Sequence[T], count: int) -> list[T]:
    """`count` of the blocks at even distances, all if there are fewer: what stays computes while the next visitor is copied."""
    count = min(count, len(blocks))
    return [blocks[number * len(blocks) // count] for number in range(count)]
