"""From weighted text to the encoder's windows: chunks of 75 tokens, each between a begin and an end token.

Knows token ids only; the tokenizer comes as a function. The rules (comma backtracking, whole embeddings, BREAK) are
AUTOMATIC1111's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from engine.generation.attention import BREAK

CHUNK = 75
BACKTRACK = 20

Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One window of the encoder: 77 token ids, 77 weights, and how many of them come from the prompt."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    used: int


def chunk_tokens(
    pieces: Iterable[tuple[str, float]],
    tokenize: Tokenize,
    *,
    comma: int | None,
    begin: int,
    end: int,
    pad: int | None = None,
    backtrack: int = BACKTRACK,
    embeddings: Mapping[int, int] | None = None,
) -> list[Chunk]:
    """Lay the pieces of `parse_attention` out in chunks; an empty prompt is one empty chunk.

    When a chunk is full and its last comma lies at most `backtrack` tokens before the end, what follows the comma moves to the
    next chunk together.

    Args:
        tokenize: text to token ids, without begin, end or truncation.
        comma: the token id of ",".
        pad: fills a chunk after its end token; `end` when not given (Stable Diffusion 1.x).
        backtrack: tokens, 0 to 74; 0 turns the comma rule off.
        embeddings: first token id of a textual-inversion embedding -> its length in tokens; one is never split. `tokenize` may
            add to it.
    """
    lengths = {} if embeddings is None else embeddings  # the tokenizer may add to it
    filled: list[list[tuple[int, float]]] = []
    chunk: list[tuple[int, float]] = []
    last_comma = -1
    for text, weight in pieces:
        if (text, weight) == BREAK:
            filled.append(chunk)
            chunk, last_comma = [], -1
            continue
        unsplit = 0  # tokens of the current embedding still to come
        for token in tokenize(text):
            if unsplit:
                unsplit -= 1
            elif 1 < lengths.get(token, 1) <= CHUNK:
                unsplit = lengths[token] - 1
                if len(chunk) + lengths[token] > CHUNK:
                    filled.append(chunk)
                    chunk, last_comma = [], -1
            if len(chunk) == CHUNK:
                carried = 0
                if token != comma and last_comma >= 0 and CHUNK - last_comma <= backtrack:
                    carried = CHUNK - last_comma - 1
                filled.append(chunk[: CHUNK - carried])
                chunk, last_comma = chunk[CHUNK - carried :], -1
            if token == comma:
                last_comma = len(chunk)
            chunk.append((token, weight))
    if chunk or not filled:
        filled.append(chunk)
    return [_wrap(tokens, begin, end, end if pad is None else pad) for tokens in filled]


def _wrap(tokens: list[tuple[int, float]], begin: int, end: int, pad: int) -> Chunk:
    rest = CHUNK - len(tokens)
    return Chunk(
        tokens=(begin, *(token for token, _ in tokens), end, *(pad,) * rest),
        weights=(1.0, *(weight for _, weight in tokens), *(1.0,) * (rest + 1)),
        used=len(tokens),
    )
