"""What becomes of a caption when a tagger has spoken: replaced, added to, or left alone; the trigger word always first. Pure.

A caption is read as pieces with commas between. No piece is ever added that is there already, upper and lower case and long_hair
and long hair being the same; what was written by hand keeps its spelling and its order.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.config.caption import WriteMode

BETWEEN = ", "


def written(before: str, told: Sequence[str], mode: WriteMode, trigger: str = "") -> str:
    """The caption that is written.

    Args:
        told: what the tagger said, in pieces: tags, or one sentence.
        trigger: what the caption then begins with; one that stands elsewhere as a piece of its own is moved. With `missing` a
            caption that is there keeps what it has, with or without it.
    """
    before = before.strip()
    if mode == "missing" and before:
        return before
    kept = [] if mode in ("replace", "missing") else split(before)
    new = _without_repeats([piece for piece in told if not _stands_in(piece, kept)])
    return BETWEEN.join(_led(trigger, [*new, *kept] if mode == "prepend" else [*kept, *new]))


def split(caption: str) -> list[str]:
    """The pieces of a caption, as they are written, without empty ones."""
    return [piece.strip() for piece in caption.split(",") if piece.strip()]


def _stands_in(piece: str, pieces: Sequence[str]) -> bool:
    """Whether a piece, which may be a sentence with commas, stands there as a whole."""
    wanted, there = list(map(_plain, split(piece))), list(map(_plain, pieces))
    return any(there[start : start + len(wanted)] == wanted for start in range(len(there) - len(wanted) + 1))


def _without_repeats(pieces: Sequence[str]) -> list[str]:
    return list({_plain(piece): piece.strip() for piece in reversed(pieces) if _plain(piece)}.values())[::-1]


def _led(trigger: str, pieces: Sequence[str]) -> list[str]:
    """The pieces with the trigger word, which may be several with commas between, in front."""
    words = split(trigger)
    if not words:
        return list(pieces)
    own = {_plain(word) for word in words}
    return [*words, *(piece for piece in pieces if _plain(piece) not in own)]


def _plain(piece: str) -> str:
    return " ".join(piece.replace("_", " ").split()).casefold()
