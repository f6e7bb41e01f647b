"""The prompt language, in the order it is read: comments, adapter tags, AND, schedules, attention, chunks.

Pure text: no tokenizer of its own, no model, no torch. Each stage has its file; what is small enough stands here. Nothing
raises on any prompt: a bracket that means nothing is text, a tag that cannot be honoured carries its problem.
"""

from __future__ import annotations

import re

from engine.errors import PromptError
from engine.generation.attention import (
    BREAK,
    MAX_WEIGHT,
    limit_weight,
    parse_attention,
    unclosed_brackets,
    unread_weights,
)
from engine.generation.chunks import CHUNK, Chunk, Tokenize, chunk_tokens
from engine.generation.lookup import find_adapter
from engine.generation.schedule import parse_schedule
from engine.generation.tags import AdapterTag, parse_tags

__all__ = [
    "BREAK", "CHUNK", "MAX_WEIGHT", "AdapterTag", "Chunk", "chunk_tokens", "count_tokens", "find_adapter", "find_problems",
    "parse_attention", "parse_schedule", "parse_tags", "split_composable", "strip_comments", "too_long",
]  # fmt: skip

AND_WORD = re.compile(r"\bAND\b")
PART_WEIGHT = re.compile(r"\s*([+-]?(?:\d+\.?|\d*\.\d+))\s*")


def strip_comments(prompt: str) -> str:
    """Remove everything from `#` to the end of its line."""
    return "\n".join(line.partition("#")[0] for line in prompt.split("\n"))


def split_composable(text: str) -> list[tuple[str, float]]:
    """Split at `AND`; a number after a colon at the end of a part is its weight, otherwise 1.

    Liu et al. 2022, Compositional Visual Generation with Composable Diffusion Models. Guidance is
    `uncond + sum(weight * scale * (cond - uncond))`.
    """
    parts = []
    for part in AND_WORD.split(text):
        before, colon, after = part.rpartition(":")
        number = PART_WEIGHT.fullmatch(after) if colon else None
        parts.append((before.rstrip(), limit_weight(float(number[1]))) if number else (part.rstrip(), 1.0))
    return parts


def count_tokens(text: str, tokenize: Tokenize, steps: int = 20) -> tuple[int, int]:
    """How long a prompt is: (tokens, room), where room is 75 per chunk.

    Of the parts of an AND and the stages of a schedule over `steps`, the longest counts.
    """
    comma = next(iter(tokenize(",")), None)
    plain, _ = parse_tags(strip_comments(text))
    stages = {stage for part, _ in split_composable(plain) for _, stage in parse_schedule(part, steps)}
    sizes = []
    for stage in stages:
        chunks = chunk_tokens(parse_attention(stage), tokenize, comma=comma, begin=0, end=0)
        sizes.append((len(chunks) * CHUNK, sum(chunk.used for chunk in chunks)))
    room, tokens = max(sizes)
    return tokens, room


def find_problems(prompt: str, negative: str = "") -> list[PromptError]:
    """Everything in a prompt and its negative prompt that will not do what it says, for the page and beside the picture."""
    text, tags = parse_tags(strip_comments(prompt))
    against = strip_comments(negative)
    problems = [error for tag in tags for error in (tag.problem, *tag.notes) if error]
    problems += [_tag_negative(tag) for tag in parse_tags(against)[1]]
    parts = split_composable(text)
    read = [*(part for part, _ in parts), against]
    weights = [*(factor for _, factor in parts), *(weight for each in read for _, weight in parse_attention(each))]
    if any(abs(weight) >= MAX_WEIGHT for weight in weights):
        problems.append(_weight_limit())
    for each in read:
        problems += [_weight_unread(weight) for weight in dict.fromkeys(unread_weights(each))]
        problems += [_unclosed(bracket, rest) for bracket, rest in unclosed_brackets(each).items()]
    return problems


def _weight_limit() -> PromptError:
    return PromptError(
        "prompt.weight", f"A weight in the prompt reaches {MAX_WEIGHT:g} and counts as {MAX_WEIGHT:g}.",
        "Weights of 0.5 to 1.5 are usual.", "Use fewer brackets or a smaller number.", limit=f"{MAX_WEIGHT:g}",
    )  # fmt: skip


def _weight_unread(weight: str) -> PromptError:
    return PromptError(
        "prompt.weight_unread", f"{weight!r} in the prompt is no weight and is read as text.",
        "A number with a point such as (word:1.2).", "Correct it, or write \\( for a bracket.", weight=weight[:80],
    )  # fmt: skip


def _unclosed(bracket: str, rest: str) -> PromptError:
    closing = {"(": ")", "[": "]"}[bracket]
    return PromptError(
        "prompt.unclosed", f"A {bracket} in the prompt is never closed and weights all that follows: {rest[:80]!r}.",
        f"A {closing} where its effect shall end.", f"Close it, or write \\{bracket} for a bracket.",
        bracket=bracket, closing=closing, text=rest[:80],
    )  # fmt: skip


def _tag_negative(tag: AdapterTag) -> PromptError:
    source = tag.source[:80]
    return PromptError(
        "prompt.tag_negative", f"The tag {source} in the negative prompt is read as words and applies nothing.",
        "Tags work in the prompt.", "Move it there.", tag=source,
    )  # fmt: skip


def too_long(length: int, limit: int) -> PromptError:
    """`prompt.too_long`: what stands behind the first `limit` tokens of a prompt was left out."""
    return PromptError(
        "prompt.too_long", f"The prompt is {length} tokens long; the model reads {limit}, the rest was left out.",
        "A shorter prompt.", "Put what matters first.", length=length, limit=limit,
    )  # fmt: skip
