"""What becomes of a caption when a tagger has spoken: replaced, added to, or left alone; the trigger word always first. Pure.

A caption is read as pieces with commas between. No piece is added that is there already, upper and lower case being the same and
long_hair being long hair; what stood there keeps its spelling and its order.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from engine.config.caption import WriteMode

BETWEEN = ", "


def written(before: str, told: Sequence[str], mode: WriteMode, trigger: str = "") -> str:
    """The caption that is written.

    Args:
        told: what the tagger said, in pieces: tags, or one sentence.
        trigger: what the caption then begins with, one word or several with commas between; where they stand elsewhere as pieces
            of their own they are moved. With `missing` a caption that is there stays as it is, with or without them.
    """
    before = before.strip()
    if mode == "missing" and before:
        return before
    leading = set(plain_pieces(trigger))
    kept = "" if mode in ("replace", "missing") else _without(before, leading)
    new = _new_pieces([_without(piece, leading) for piece in told], plain_pieces(kept))
    first = BETWEEN.join(word.strip() for word in trigger.split(",") if word.strip())
    return BETWEEN.join(part for part in [first, *([*new, kept] if mode == "prepend" else [kept, *new])] if part)


def plain_pieces(text: str) -> list[str]:
    """The pieces of a caption as they are compared."""
    return [plain for piece in text.split(",") if (plain := _plain(piece))]


def _plain(piece: str) -> str:
    return " ".join(piece.replace("_", " ").split()).casefold()


def _without(text: str, unwanted: Set[str]) -> str:
    """A text less some of its pieces and the empty ones; the others are as they were: 1,000 stays 1,000."""
    return ",".join(piece for piece in text.split(",") if piece.strip() and _plain(piece) not in unwanted).strip()


def _new_pieces(pieces: Sequence[str], there: list[str]) -> list[str]:
    """Those that do not stand there as a whole; a sentence with commas is one."""
    new = []
    for piece in pieces:
        wanted = plain_pieces(piece)
        if not any(there[start : start + len(wanted)] == wanted for start in range(len(there) - len(wanted) + 1)):
            new.append(piece)
            there = [*there, *wanted]
    return new
