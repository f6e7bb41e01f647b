"""Prompts that change on the way: `[from:to:when]`, `[to:when]`, `[from::when]` and `[a|b|c]`.

Knows text and step numbers only. The grammar is AUTOMATIC1111's: `when` with a point is a fraction of the steps, without one
a step; alternatives change at every step. A bracket that is neither stays as it stands, and the others stay in force; round
brackets protect what is inside them.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, NamedTuple

TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)
NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*", re.ASCII)


Node = Any  # str, Switch, Alternation or a list of them


class Switch(NamedTuple):
    until: int
    before: Node
    after: Node


class Alternation(NamedTuple):
    options: list[Node]


class Bracket(NamedTuple):
    """An open bracket: where it and the separators directly inside it stand in the list of nodes."""

    opening: str
    start: int
    separators: list[int]


def parse_schedule(text: str, steps: int, hires_steps: int | None = None) -> list[tuple[int, str]]:
    """What the prompt reads at each step.

    Args:
        steps: steps of the first pass.
        hires_steps: when given, the schedule is that of the second pass: whole numbers go on counting after `steps`, fractions
            from 1.0 to 2.0 lie in it.

    Returns:
        (until_step, text) in order: the text holds for steps up to and including until_step, counted from 1. The last entry is
        the number of steps.
    """
    total = steps if hires_steps is None else hires_steps
    if "[" not in text:
        return [(total, text)]
    root, moments, alternates = _parse(text, steps, hires_steps)
    ends = {*range(1, total + 1)} if alternates else {moment for moment in moments if moment >= 1}
    return [(end, _render(root, end)) for end in sorted({*ends, total})]


def _parse(text: str, steps: int, hires_steps: int | None) -> tuple[list, set[int], bool]:
    """The prompt as a list of strings, Switches and Alternations; the steps at which a Switch changes; whether any alternates.

    Everything is text until its bracket closes and means something; then the nodes since the opening become one node. A bracket
    that means nothing costs nothing, so ten thousand nested ones stay linear.
    """
    nodes: list = []
    stack: list[Bracket] = []
    squares, moments, alternates = 0, set(), False
    for token in TOKEN.findall(text):
        if token in ("[", "("):
            stack.append(Bracket(token, len(nodes), []))
            squares += token == "["
        elif token == ")":
            if stack and stack[-1].opening == "(":
                stack.pop()
        elif token in (":", "|"):
            if stack and stack[-1].opening == "[":
                stack[-1].separators.append(len(nodes))
        elif token == "]" and squares:
            squares -= 1
            while (bracket := stack.pop()).opening == "(":
                pass
            if node := _interpret(nodes, bracket, steps, hires_steps):
                del nodes[bracket.start :]
                nodes.append(node)
                alternates |= isinstance(node, Alternation)
                if isinstance(node, Switch):
                    moments.add(node.until)
                continue
        nodes.append(token)
    return nodes, moments, alternates


def _interpret(nodes: list, bracket: Bracket, steps: int, hires_steps: int | None) -> Switch | Alternation | None:
    """What a square bracket means that closes after the last node; None for plain text."""
    separators = bracket.separators
    kinds = {nodes[index] for index in separators}
    edges = [bracket.start, *separators, len(nodes)]
    if kinds == {"|"}:
        return Alternation([_pack(nodes[left + 1 : right]) for left, right in pairwise(edges)])
    # the last part must be one number and nothing else
    if kinds == {":"} and len(separators) <= 2 and separators[-1] == len(nodes) - 2:
        number = NUMBER.fullmatch(nodes[-1]) if isinstance(nodes[-1], str) else None
        if number:
            *before, after = [_pack(nodes[left + 1 : right]) for left, right in pairwise(edges[:-1])]
            return Switch(_last_step(number[1], steps, hires_steps), before, after)
    return None


def _pack(nodes: list) -> Node:
    return "".join(nodes) if all(isinstance(node, str) for node in nodes) else nodes


def _last_step(number: str, steps: int, hires_steps: int | None) -> int:
    """The last step before the change, 0 when it has already happened."""
    value = float(number)
    if hires_steps is not None:
        value = (value - 1) * hires_steps if "." in number else value - steps
        steps = hires_steps
    elif "." in number:
        value *= steps
    return int(min(max(value, 0), steps))


def _render(root: Node, step: int) -> str:
    pieces: list[str] = []
    waiting: list = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            pieces.append(node)
        elif isinstance(node, Switch):
            waiting.append(node.before if step <= node.until else node.after)
        elif isinstance(node, Alternation):
            waiting.append(node.options[(step - 1) % len(node.options)])
        else:
            waiting.extend(reversed(node))
    return "".join(pieces)
