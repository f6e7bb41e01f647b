"""Attention syntax: `(a)` x1.1, `[a]` /1.1, `(a:1.3)` x1.3, `\\(` for a bracket, `BREAK` for a new chunk.

Knows text and weights only. The grammar is AUTOMATIC1111's; brackets of each shape nest among themselves, so `(a [b) c]` is
weighted the way it overlaps.
"""

from __future__ import annotations

import re
from typing import Any

MAX_WEIGHT = 1000.0  # beyond this float16 overflows in the encoder's output; reported by prompt.find_problems
BREAK = ("BREAK", -1.0)
FACTOR = 1.1
TOKEN = re.compile(r"\\[\\()\[\]]|\\|[()\[\]]|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|[^\\()\[\]:]+|:")
CLOSING = {")": "(", "]": "["}
WEIGHT_LIKE = re.compile(r":\s*([+-]?[\d.,][\d.,eE+-]*)\s*\)", re.ASCII)
BREAK_WORD = re.compile(r"\bBREAK\b")


def limit_weight(weight: float) -> float:
    return min(max(weight, -MAX_WEIGHT), MAX_WEIGHT)


def parse_attention(text: str) -> list[tuple[str, float]]:
    """Split a prompt into pieces of equal weight.

    An unclosed bracket counts as closed at the end; an unmatched closing one is text, as is a weight that is not a plain
    decimal number. `BREAK` yields the marker BREAK and swallows the spaces around it, also inside brackets.

    Returns:
        (piece, weight), weights within +-MAX_WEIGHT; [("", 1.0)] for an empty prompt.
    """
    events, factors = _match_brackets(text)
    products = {"(": [1.0], "[": [1.0]}
    pieces: list[tuple[list[str], float]] = []
    for kind, value in events:
        if kind == "text":
            _add_text(pieces, value, limit_weight(products["("][-1] * products["["][-1]))
        elif kind == "close":
            products[value].pop()
        else:
            products[kind].append(limit_weight(products[kind][-1] * factors[value]))
    return [("".join(parts), weight) for parts, weight in pieces] or [("", 1.0)]


def plain_text(text: str) -> str:
    """A prompt without its brackets and weights, for encoders that know none; BREAK is a space."""
    return "".join(" " if piece == BREAK else piece[0] for piece in parse_attention(text))


def unclosed_brackets(text: str) -> dict[str, str]:
    """Shape of bracket -> the text from the first one of it on that is never closed."""
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in TOKEN.finditer(text):
        token = match[0]
        if token in opened:
            opened[token].append(match.start())
        elif token[0] != "\\" and (shape := CLOSING.get(token[-1])) and opened[shape]:
            opened[shape].pop()
    return {shape: text[places[0] :] for shape, places in opened.items() if places}


def unread_weights(text: str) -> list[str]:
    """What stands in the place of a weight, looks like a number and is none, and so is text: `1,2`, `1.2.3`, `1e2`."""
    found = [match for match in WEIGHT_LIKE.finditer(text) if not TOKEN.fullmatch(match[0])]
    return [match[1] for match in found if any(sign.isdigit() for sign in match[1])]


def _match_brackets(text: str) -> tuple[list[tuple[str, Any]], list[float]]:
    """First pass: text and brackets in order, and the factor of each bracket by its index.

    The factor of `(a:1.3)` stands at its end, so weights can only be multiplied in a second pass; two passes keep ten thousand
    nested brackets linear.
    """
    events: list[tuple[str, Any]] = []
    factors: list[float] = []
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in TOKEN.finditer(text):
        token, weight = match[0], match[1]
        if token in ("(", "["):
            opened[token].append(len(factors))
            events.append((token, len(factors)))
            factors.append(FACTOR if token == "(" else 1 / FACTOR)
        elif weight is not None and opened["("]:
            factors[opened["("].pop()] = limit_weight(float(weight))
            events.append(("close", "("))
        elif (shape := CLOSING.get(token)) and opened[shape]:
            opened[shape].pop()
            events.append(("close", shape))
        elif token[0] == "\\":
            events.append(("text", token[1:]))
        else:
            events.append(("text", token))
    return events, factors


def _add_text(pieces: list[tuple[list[str], float]], text: str, weight: float) -> None:
    """Append `text`, joining it to the piece before when the weights are equal."""
    first, *after_breaks = BREAK_WORD.split(text)
    if after_breaks:
        first = first.rstrip()
    if pieces and pieces[-1][1] == weight:
        pieces[-1][0].append(first)
    else:
        pieces.append(([first], weight))
    for index, part in enumerate(after_breaks, start=1):
        part = part.strip() if index < len(after_breaks) else part.lstrip()
        pieces += [([BREAK[0]], BREAK[1]), ([part], weight)]
